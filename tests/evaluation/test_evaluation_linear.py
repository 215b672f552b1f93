"""Linear evaluation: against scikit-learn on the same features; the learning rate is chosen on held-out images."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from relic_rl.evaluation.accuracy import accuracy
from relic_rl.evaluation.held_out import held_out
from relic_rl.evaluation.linear import (
    Standardisation,
    feature_batches,
    fit_heads,
    fit_probe,
    head_accuracy,
    standardisation,
)
from relic_rl.runtime.errors import RunFailed

CPU = torch.device("cpu")
KEY = 5


def clouds(count: int = 600, dim: int = 6, classes: int = 4, seed: int = 0, spread: float = 1.0):
    """Overlapping Gaussian clouds, features of very different scales, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (count,), generator=generator)
    features = centres[labels] + spread * torch.randn(count, dim, generator=generator)
    return features * 10 ** torch.linspace(-2, 2, dim) + 7, labels


def streams(features, labels, epochs: int, batch_size: int = 64):
    def stream(rows, name):
        key = KEY + len(name)
        batches = feature_batches(features, labels, rows, batch_size=batch_size, epochs=epochs, key=key, device=CPU)
        return batches, epochs * -(-len(rows) // batch_size)

    return stream


def test_the_classifier_is_scikit_learn_s():
    features, labels = clouds()
    decay = 0.002
    standard = standardisation(features)
    (head,) = fit_heads(
        *streams(features, labels, 120, 600)(torch.arange(600), "fit"), [10.0], standard, 4, weight_decay=decay
    )
    inputs = standard(features).numpy()
    # Mean cross-entropy + decay / 2 |w|^2 is scikit-learn's objective for C = 1 / (N decay).
    reference = LogisticRegression(C=1 / (600 * decay), max_iter=10_000, tol=1e-10).fit(inputs, labels.numpy())
    assert np.allclose(head.weight.detach(), reference.coef_, atol=0.02)
    found = head.bias.detach() - head.bias.detach().mean()  # a common constant changes no probability
    assert np.allclose(found, reference.intercept_ - reference.intercept_.mean(), atol=0.02)
    asked, truth = clouds(seed=1)
    expected = reference.score(standard(asked).numpy(), truth.numpy())
    assert head_accuracy(head, standard, asked, truth).top1 == pytest.approx(expected, abs=0.005)
    assert expected < 0.95  # not so easy that every classifier is right


def test_without_decay_as_good_as_scikit_learn():
    features, labels = clouds(800, 10, 8, spread=1.5)
    asked, truth = clouds(800, 10, 8, seed=1, spread=1.5)
    probe = fit_probe(
        streams(features, labels, 40),
        features,
        labels,
        8,
        learning_rates=(0.3, 1.0, 3.0, 10.0),
        held_out_share=0.2,
        split=np.random.default_rng(0),
        standard=standardisation(features),
    )
    scaled = (features.numpy() - features.numpy().mean(0)) / features.numpy().std(0)
    again = (asked.numpy() - features.numpy().mean(0)) / features.numpy().std(0)
    reference = LogisticRegression(C=1e6, max_iter=10_000).fit(scaled, labels.numpy())
    found = head_accuracy(probe.head, probe.standard, asked, truth)
    assert found.top1 == pytest.approx(reference.score(again, truth.numpy()), abs=0.02)
    ranked = np.argsort(-reference.decision_function(again), axis=1)[:, :5]
    assert found.top5 == pytest.approx(
        np.mean([t in row for t, row in zip(truth.numpy(), ranked, strict=True)]), abs=0.02
    )
    assert set(probe.sweep) == {0.3, 1.0, 3.0, 10.0}


def test_heads_of_a_sweep_learn_as_if_alone():
    features, labels = clouds()
    standard = standardisation(features)

    def fit(rates):
        return fit_heads(*streams(features, labels, 2)(torch.arange(600), "fit"), rates, standard, 4, weight_decay=0.1)

    for rate, head in zip((0.5, 5.0), fit([0.5, 5.0]), strict=True):
        (alone,) = fit([rate])
        assert torch.allclose(head.weight, alone.weight, atol=1e-6)
        assert torch.allclose(head.bias, alone.bias, atol=1e-6)


def test_one_update_by_hand():
    # Zero weights, two classes, one image of class 0 with feature 2: p = 1/2, so the gradient of w_0 is (1/2 - 1) * 2.
    batches = [(torch.tensor([[2.0]]), torch.tensor([0]))]
    standard = Standardisation(torch.zeros(1), torch.ones(1))
    (head,) = fit_heads(batches, 1, [0.5], standard, 2, momentum=0.0)
    assert head.weight.flatten().tolist() == pytest.approx([0.5, -0.5])
    assert head.bias.tolist() == pytest.approx([0.25, -0.25])
    # Nesterov: the first step is (1 + 0.9) times the gradient.
    (head,) = fit_heads(batches, 1, [0.5], standard, 2)
    assert head.weight.flatten().tolist() == pytest.approx([0.95, -0.95])


def test_the_learning_rate_falls_along_a_cosine():
    batches = [(torch.zeros(1, 1), torch.tensor([label])) for label in (0, 1)]
    standard = Standardisation(torch.zeros(1), torch.ones(1))
    (head,) = fit_heads(batches, 2, [1.0], standard, 2, momentum=0.0)
    first = 0.5  # bias: rate 1, gradient 1/2
    p = 1 / (1 + math.exp(-2 * first))
    assert float(head.bias[0].detach()) == pytest.approx(first - 0.5 * p)  # rate (1 + cos(pi / 2)) / 2


def test_standardisation_by_hand():
    features = torch.tensor([[1.0, 5.0, 3.0], [3.0, 5.0, 9.0]])
    standard = standardisation(features)
    assert standard.mean.tolist() == [2, 5, 6]
    assert standard.scale.tolist() == pytest.approx([1 / math.sqrt(3), 0, 1 / 3 / math.sqrt(3)])
    assert torch.equal(standardisation(features, identity=True)(features), features)
    many = clouds(9_000)[0]  # more than a chunk
    mapped = standardisation(many)(many)
    assert torch.allclose(mapped.mean(0), torch.zeros(6), atol=1e-4)
    assert float(mapped.square().sum(dim=1).mean()) == pytest.approx(1, rel=1e-4)


def test_batches_show_each_chosen_row_once_an_epoch():
    features, labels = torch.arange(10.0)[:, None], torch.arange(10)
    rows = torch.tensor([1, 2, 5, 7, 8])
    found = list(feature_batches(features, labels, rows, batch_size=2, epochs=2, key=KEY, device=CPU))
    assert [len(batch[0]) for batch in found] == [2, 2, 1] * 2
    first, second = (torch.cat([batch[1] for batch in found[i : i + 3]]).tolist() for i in (0, 3))
    assert sorted(first) == sorted(second) == rows.tolist()
    assert first != second
    assert all(torch.equal(some[:, 0], values.float()) for some, values in found)


def test_held_out_images_are_never_learned_from():
    features, labels = clouds(100)
    seen = {}

    def stream(rows, name):
        seen[name] = set(rows.tolist())
        return streams(features, labels, 1)(rows, name)

    split = {"held_out_share": 0.2, "split": np.random.default_rng(3), "standard": standardisation(features)}
    fit_probe(stream, features, labels, 4, learning_rates=(1.0, 2.0), **split)
    _, judge = held_out(100, 0.2, np.random.default_rng(3))
    assert seen["sweep"] == set(range(100)) - set(judge.tolist())
    assert seen["fit"] == set(range(100))
    groups = torch.arange(100) // 10
    fit_probe(stream, features, labels, 4, learning_rates=(1.0, 2.0), groups=groups, **split)
    assert {len(seen["sweep"] & set(range(first, first + 10))) for first in range(0, 100, 10)} == {0, 10}
    assert len(seen["sweep"]) == 80
    seen.clear()
    probe = fit_probe(stream, features, labels, 4, learning_rates=(1.0,), **split)
    assert set(seen) == {"fit"}
    assert probe.sweep == {}


def test_the_best_rate_is_chosen_and_one_that_diverges_is_not():
    features, labels = clouds(300)
    # One noise on all features: the first step's direction, that of the class means, is a bad one.
    features = standardisation(features)(features) + 3 * torch.randn(300, 1, generator=torch.Generator().manual_seed(7))
    arguments = {"held_out_share": 0.2, "standard": standardisation(features)}
    probe = fit_probe(
        streams(features, labels, 20),
        features,
        labels,
        4,
        learning_rates=(1e30, 1e-9, 3.0),
        split=np.random.default_rng(0),
        **arguments,
    )
    assert probe.learning_rate == 3.0
    with pytest.raises(RunFailed, match="diverged at learning rate"):
        fit_probe(
            streams(features * 1e30, labels, 3),
            features * 1e30,
            labels,
            4,
            learning_rates=(1e30,),
            held_out_share=0.2,
            split=np.random.default_rng(0),
            standard=standardisation(features, identity=True),
        )


def test_accuracy_by_hand():
    logits = torch.tensor([[9.0, 5, 4, 3, 2, 1], [0.0, 1, 2, 3, 4, 5], [1.0, 2, 3, 4, 5, math.nan]])
    found = accuracy([(logits[:2], torch.tensor([0, 0])), (logits[2:], torch.tensor([4]))])
    assert found == (pytest.approx(1 / 3), pytest.approx(1 / 3), math.inf, 3)
    assert accuracy([(logits[:2], torch.tensor([1, 5]))])[:2] == (0.5, 1.0)
    few = accuracy([(torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]))])
    assert few.top5 is None
    assert few.loss == pytest.approx(-math.log(3 / 4))
    head = nn.Linear(2, 3)
    features = torch.randn(10_000, 2)
    labels = head(features).argmax(dim=1)
    whole = head_accuracy(head, standardisation(features, identity=True), features, labels)
    assert (whole.top1, whole.images) == (1.0, 10_000)
