"""What watches a pretraining run: neighbours, a probe without gradient to the encoder, signs of collapse."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from relic_rl.evaluation.collapse import CollapseWatch, feature_health
from relic_rl.evaluation.knn import knn_accuracy, knn_predict
from relic_rl.evaluation.online_probe import FeatureTap, OnlineProbe
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit, Sample
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.objectives import build_objective

CPU = torch.device("cpu")


def test_neighbours_vote_as_in_a_slow_version():
    generator = torch.Generator().manual_seed(0)
    reference, queries = torch.randn(40, 5, generator=generator), torch.randn(9, 5, generator=generator)
    labels = torch.randint(0, 4, (40,), generator=generator)
    found = knn_predict(reference, labels, queries, 4, k=7)
    for query, predicted in zip(queries, found, strict=True):
        similarity = [float(functional.cosine_similarity(query, other, dim=0)) for other in reference]
        nearest = sorted(range(40), key=lambda i: -similarity[i])[:7]
        votes = [0.0] * 4
        for i in nearest:
            votes[int(labels[i])] += math.exp(similarity[i] / 0.07)
        assert int(predicted) == max(range(4), key=votes.__getitem__)
    assert knn_predict(reference[:3], labels[:3], queries, 4, k=20).shape == (9,)


def test_accuracy_of_neighbours_on_images():
    def images(seed: int) -> LabelledImages:
        labels = np.arange(30, dtype=np.int64) % 3
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 60, (30, 1, 36, 36), dtype=np.uint8)
        pixels[labels == 0, :, :18] += 150
        pixels[labels == 1, :, :, :18] += 150
        pixels[labels == 2, :, 9:27, 9:27] += 150
        return LabelledImages(pixels, {"class": labels}, "class", {"class": 3})

    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=1, image_size=(36, 36))
    encoder.train()
    known, asked = (Sample(MemorySplit(images(seed)), np.arange(30), "class") for seed in (0, 1))
    accuracy = knn_accuracy(encoder, lambda x: x, known, asked, 3, CPU, k=5, chunk=7)
    assert accuracy == 1.0
    assert encoder.training


def test_the_probe_learns_what_is_linear_and_reports_before_it_learns():
    torch.manual_seed(0)
    probe = OnlineProbe(6, 3, CPU, learning_rate=0.05)
    centres = torch.randn(3, 6) * 3 + 50
    rates = []
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        labels = torch.randint(0, 3, (64,), generator=generator)
        features = centres[labels] + torch.randn(64, 6, generator=generator)
        labels[:4] = -1  # unlabelled rows count for nothing
        metrics = probe.learn(features, labels)
        rates.append(float(metrics["probe/accuracy"]))
        if step == 0:
            assert float(metrics["probe/loss"]) == pytest.approx(math.log(3))
    assert rates[0] < 0.6
    assert np.mean(rates[-5:]) > 0.95
    again = OnlineProbe(6, 3, CPU, learning_rate=0.05)
    again.load_state(probe.state())
    assert torch.equal(again(centres), probe(centres))


@pytest.mark.parametrize("name", ["relic", "infonce", "simclr", "byol", "curl", "amdim"])
def test_the_tap_hands_out_the_first_view_s_features_without_gradient(name):
    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=1, image_size=(36, 36), feature_dim=8)
    objective = build_objective(name, encoder, projection_dim=4, hidden_dim=8)
    tap = FeatureTap(encoder)
    views = [torch.rand(5, 1, 36, 36) for _ in range(2)]
    for _ in range(2):
        objective(encoder, views)
        features = tap.first(5)
        assert torch.allclose(features, encoder(views[0]), atol=1e-6)
        assert not features.requires_grad
        tap.first(5)
    encoder.eval()
    encoder(views[1])  # an evaluation leaves no trace
    encoder.train()
    objective(encoder, views)
    assert torch.allclose(tap.first(5), encoder(views[0]), atol=1e-6)
    tap.remove()
    assert not encoder.head._forward_hooks


def test_health_by_hand():
    axes = torch.eye(4).repeat(50, 1)
    health = feature_health(axes)
    assert float(health["features/spread"]) == pytest.approx(2 * math.sqrt(3) / 4, rel=0.01)
    assert float(health["features/rank"]) == pytest.approx(3, rel=0.01)  # four points: three directions
    same = torch.ones(50, 4) + 1e-6 * torch.randn(50, 4)
    assert float(feature_health(same)["features/spread"]) < 0.01
    line = torch.linspace(-0.1, 0.1, 50)[:, None] * torch.tensor([1.0, -1.0]) + 1
    assert float(feature_health(line)["features/rank"]) == pytest.approx(1, abs=0.01)
    sphere = torch.randn(400, 64, generator=torch.Generator().manual_seed(0))
    assert float(feature_health(sphere)["features/spread"]) == pytest.approx(1, rel=0.05)


def row(loss: float, spread: float = 0.9, rank: float = 20.0) -> dict[str, float]:
    return {"loss/contrastive": loss, "features/spread": spread, "features/rank": rank}


def test_warnings_come_once_and_only_when_it_lasts():
    chance = math.log(256)
    watch = CollapseWatch("loss/contrastive", chance, start=100)
    assert [watch.look(u, row(chance)) for u in (10, 20, 30, 40)] == [None] * 4  # every run begins there
    told = [watch.look(100 + u, row(chance * 0.99)) for u in range(8)]
    assert [bool(t) for t in told] == [False, False, True, False, False, False, False, False]
    assert "sits at chance" in told[2]
    told = [watch.look(200 + u, row(1.0, spread=0.01)) for u in range(5)]
    assert [bool(t) for t in told] == [False, False, True, False, False]
    assert "collapsed" in told[2]
    assert len(watch.warnings) == 2

    sound = CollapseWatch("loss/contrastive", chance, start=0)
    rows = [chance, chance, 3.0] * 5
    assert [sound.look(u, row(loss)) for u, loss in enumerate(rows)] == [None] * 15
    without = CollapseWatch("loss/total", None, start=0)
    assert [without.look(u, {"loss/total": 9.0}) for u in range(5)] == [None] * 5
    assert without.look(9, row(9.0, rank=1.0)) is None
    assert without.look(10, row(9.0, rank=1.0)) is None
    assert "directions" in without.look(11, row(9.0, rank=1.0))
