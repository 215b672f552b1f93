"""Fine-tuning: shares of the labels, and training that reaches the encoder."""

import numpy as np
import pytest
import torch
from torch import nn

from relic_rl.evaluation.accuracy import accuracy
from relic_rl.evaluation.finetune import Classifier, labelled_share, train_classifier
from relic_rl.representation.encoders import Encoder

CPU = torch.device("cpu")
SEED = np.random.SeedSequence(3)


class FlatEncoder(Encoder):
    """A linear layer with centred filters, and a layer with buffers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.means_of_gradients = []

    @property
    def centred(self):
        return (self.head[1].weight,)

    def centre_gradients(self):
        super().centre_gradients()
        self.means_of_gradients.append(self.head[1].weight.grad.mean(dim=1))

    def feature_maps(self, images):
        return (images,)


def test_shares_are_even_and_nested():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 3)[torch.randperm(63)]
    chosen = {share: set(labelled_share(labels, share, SEED).tolist()) for share in (0.01, 0.1, 0.5, 1.0)}
    counts = {share: torch.bincount(labels[sorted(rows)]).tolist() for share, rows in chosen.items()}
    assert counts == {0.01: [1, 1, 1], 0.1: [5, 1, 1], 0.5: [25, 5, 2], 1.0: [50, 10, 3]}
    assert chosen[0.01] < chosen[0.1] < chosen[0.5] < chosen[1.0]
    other = set(labelled_share(labels, 0.1, np.random.SeedSequence(4)).tolist())
    assert other != chosen[0.1]


@pytest.mark.parametrize(("optimiser", "rate"), [("adamw", 0.01), ("sgd", 0.1)])
def test_encoder_and_classifier_learn(optimiser, rate):
    torch.manual_seed(0)
    images = torch.rand(64, 1, 4, 4)
    labels = (images[:, 0, :2].mean(dim=(1, 2)) > images[:, 0, 2:].mean(dim=(1, 2))).long()
    encoder = FlatEncoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    classifier = Classifier(encoder, 16, 2)
    assert torch.equal(classifier(images), torch.zeros(64, 2))
    batches = [(images[i : i + 16], labels[i : i + 16]) for i in range(0, 64, 16)] * 40
    train_classifier(
        classifier, batches, len(batches), learning_rate=rate, optimiser=optimiser, weight_decay=0.0, device=CPU
    )
    assert not classifier.training
    assert all(not torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert accuracy([(classifier(images), labels)]).top1 > 0.95
    means = [*encoder.means_of_gradients, encoder.head[1].weight.mean(dim=1)]
    assert len(means) == len(batches) + 1
    torch.testing.assert_close(torch.stack(means), torch.zeros(len(means), 16), rtol=0, atol=1e-6)
    assert classifier.is_finite()
    classifier.head.bias.data[0] = torch.nan
    assert not classifier.is_finite()
