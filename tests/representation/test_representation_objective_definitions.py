"""Every objective against its definition, written as loops over images."""

import math

import pytest
import torch
from objective_helpers import apart, build, outputs, unlike
from torch import Tensor

from relic_rl.losses import relic_loss


def unit(vector: Tensor) -> Tensor:
    return vector / vector.square().sum().sqrt()


def relic_by_loops(online, target, temperature, alpha, groups=None):
    """(R1) and (R2) in the house normalisation, from outputs per view [B, D]."""
    num = len(online[0])
    pairs = [(a, b) for a in range(len(online)) for b in range(len(target)) if a != b]
    log_p = {}
    for a, b in pairs:
        for i in range(num):
            kept = [j for j in range(num) if groups is None or j == i or groups[j] != groups[i]]
            scores = {j: unit(online[a][i]) @ unit(target[b][j]) / temperature for j in kept}
            normaliser = torch.stack(list(scores.values())).logsumexp(0)
            log_p[a, b, i] = {j: score - normaliser for j, score in scores.items()}
    contrastive = sum(-log_p[a, b, i][i] for a, b in pairs for i in range(num)) / (num * len(pairs))
    invariance = sum(
        p.exp() * (p - log_p[*second, i][j])
        for first in pairs
        for second in pairs
        if first != second
        for i in range(num)
        for j, p in log_p[*first, i].items()
    ) / (num * len(pairs) * (len(pairs) - 1))
    return contrastive + alpha * invariance, contrastive, invariance


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("target", ["ema", "online"])
@pytest.mark.parametrize("grouped", [False, True])
def test_relic_is_its_definition(small_encoder, small_views, num_views, target, grouped):
    encoder = small_encoder().double()
    objective = build("relic", encoder, target=target, alpha=0.7, temperature=0.3).double()
    apart(objective, encoder)
    views = small_views(num_views)
    groups = torch.tensor([0, 0, 1, 2, 2, 2]) if grouped else None
    out = objective(encoder, views, groups)
    online = [outputs(encoder, objective.critic, view) for view in views]
    if target == "online":
        targets = online
    else:
        targets = [outputs(objective.target.encoder, objective.target.critic, view) for view in views]
    total, contrastive, invariance = relic_by_loops(online, targets, 0.3, 0.7, groups)
    torch.testing.assert_close(out.loss, total, rtol=1e-9, atol=0)
    torch.testing.assert_close(out.metrics["contrastive"], contrastive.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(out.metrics["invariance"], invariance.detach(), rtol=1e-9, atol=0)
    weights = [encoder.conv1.weight, objective.critic.layers[0].weight]
    for found, expected in zip(
        torch.autograd.grad(out.loss, weights), torch.autograd.grad(total, weights), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-14)


def test_every_option_reaches_the_loss(small_encoder, small_views, monkeypatch):
    options = {
        "temperature": 0.3,
        "alpha": 0.5,
        "divergence": "js",
        "penalty_stop_gradient": "first",
        "normalize": False,
        "block_size": 4,
    }
    seen = {}

    def spy(*arguments, **keywords):
        seen.update(keywords)
        return relic_loss(*arguments, **keywords)

    monkeypatch.setattr("relic_rl.representation.objectives.relic.relic_loss", spy)
    encoder = small_encoder()
    build("relic", encoder, **options)(encoder, small_views())
    assert {name: seen[name] for name in options} == options


def test_infonce_is_relic_without_its_penalty(small_encoder, small_views):
    encoder = small_encoder().double()
    objective = build("infonce", encoder).double()
    apart(objective, encoder)
    views = small_views()
    online = [outputs(encoder, objective.critic, view) for view in views]
    targets = [outputs(objective.target.encoder, objective.target.critic, view) for view in views]
    total, _, invariance = relic_by_loops(online, targets, 0.1, 0.0)
    out = objective(encoder, views)
    torch.testing.assert_close(out.loss, total, rtol=1e-9, atol=0)
    torch.testing.assert_close(out.metrics["invariance"], invariance.detach(), rtol=1e-9, atol=0)


def test_simclr_is_its_definition(small_encoder, small_views):
    encoder = small_encoder().double()
    objective = build("simclr", encoder, temperature=0.4).double()
    views = unlike(small_views)
    out = objective(encoder, views)
    z = [unit(row) for view in views for row in outputs(encoder, objective.critic, view)]
    num = len(z)
    expected = 0.0
    for i in range(num):
        others = torch.stack([z[i] @ z[k] / 0.4 for k in range(num) if k != i])
        expected = expected + others.logsumexp(0) - z[i] @ z[(i + num // 2) % num] / 0.4
    torch.testing.assert_close(out.loss, expected / num, rtol=1e-9, atol=0)
    nearest = [max(range(6), key=lambda j: (z[i] @ z[6 + j]).item()) == i for i in range(6)]
    assert 0 < sum(nearest) < 6
    assert out.metrics["accuracy"] == pytest.approx(sum(nearest) / 6)


def test_byol_is_its_definition(small_encoder, small_views):
    encoder = small_encoder().double()
    objective = build("byol", encoder).double()
    apart(objective, encoder)
    views = unlike(small_views)
    out = objective(encoder, views)
    q = [objective.predictor(outputs(encoder, objective.critic, view)) for view in views]
    z = [outputs(objective.target.encoder, objective.target.critic, view) for view in views]
    expected = sum(2 - 2 * unit(q[a][i]) @ unit(z[1 - a][i]) for a in (0, 1) for i in range(6)) / 6
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=0)
    nearest = [max(range(6), key=lambda j: (unit(z[1][j]) @ q[0][i]).item()) == i for i in range(6)]
    assert out.metrics["accuracy"] == pytest.approx(sum(nearest) / 6)
    assert 0 < sum(nearest) < 6


def test_curl_is_its_definition(small_encoder, small_views):
    encoder = small_encoder().double()
    objective = build("curl", encoder).double()
    apart(objective, encoder)
    views = unlike(small_views)
    out = objective(encoder, views)
    query = outputs(encoder, objective.critic, views[0])
    key = outputs(objective.target.encoder, objective.target.critic, views[1])
    expected, hits = 0.0, 0
    for i in range(6):
        scores = torch.stack([query[i] @ objective.bilinear @ key[j] for j in range(6)])
        expected = expected + (scores.logsumexp(0) - scores[i]) / 6
        hits += int(scores.argmax()) == i
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=0)
    assert out.metrics["accuracy"] == pytest.approx(hits / 6)
    assert 0 < hits < 6


def test_amdim_is_its_definition(small_encoder, small_views):
    encoder = small_encoder().double()
    objective = build("amdim", encoder).double()
    apart(objective, encoder)
    views = unlike(small_views)
    drawn = torch.Generator()
    drawn.set_state(objective.get_extra_state())
    out = objective(encoder, views)

    def locations(critic, feature_map):
        height, width = feature_map.shape[2:]
        return [[critic(image[:, y, x][None])[0] for y in range(height) for x in range(width)] for image in feature_map]

    maps = [encoder.feature_maps(view) for view in views]
    whole = [outputs(encoder, objective.critic, view) for view in views]
    coarse = [locations(objective.coarse_critic, m[-1]) for m in maps]
    fine = [locations(objective.fine_critic, m[-2]) for m in maps]
    assert (len(coarse[0][0]), len(fine[0][0])) == (4, 16)
    picks = [torch.randint(4, (6,), generator=drawn).tolist() for _ in views]
    sources = [[coarse[v][i][picks[v][i]] for i in range(6)] for v in (0, 1)]

    def nce(source, target):
        total, squares, count = 0.0, 0.0, 0
        raw = [[[u @ v / math.sqrt(10) for v in image] for image in target] for u in source]
        for i in range(6):
            clipped = [[10 * torch.tanh(s / 10) for s in image] for image in raw[i]]
            negatives = sum(s.exp() for j in range(6) if j != i for s in clipped[j])
            for s in clipped[i]:
                total = total + ((s.exp() + negatives).log() - s) / (6 * len(clipped[i]))
            squares = squares + sum(s * s for image in raw[i] for s in image)
            count += sum(len(image) for image in raw[i])
        return total + 1e-3 * squares / count

    expected = {
        "global_to_coarse": (nce(whole[0], coarse[1]) + nce(whole[1], coarse[0])) / 2,
        "global_to_fine": (nce(whole[0], fine[1]) + nce(whole[1], fine[0])) / 2,
        "coarse_to_coarse": (nce(sources[0], coarse[1]) + nce(sources[1], coarse[0])) / 2,
    }
    torch.testing.assert_close(out.loss, sum(expected.values()), rtol=1e-9, atol=0)
    for name, value in expected.items():
        torch.testing.assert_close(out.metrics[name], value.detach(), rtol=1e-9, atol=0)
    mean = [torch.stack(image).mean(0) for image in coarse[1]]
    nearest = [max(range(6), key=lambda j: (whole[0][i] @ mean[j]).item()) == i for i in range(6)]
    assert out.metrics["accuracy"] == pytest.approx(sum(nearest) / 6)
    assert 0 < sum(nearest) < 6
