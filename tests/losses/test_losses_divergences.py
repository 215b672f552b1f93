"""Divergences: definitions, where they vanish and coincide, and that logits of ten thousand do no harm."""

import math

import pytest
import torch
from losses_slow_reference import slow_divergence, views

from relic_rl.losses import divergence_by_name, relic_loss
from relic_rl.losses.candidates import EXCLUDED_LOGIT
from relic_rl.losses.sinkhorn import ground_cost, sinkhorn_divergence

NAMES = [
    "kl",
    "reverse_kl",
    "symmetric_kl",
    "js",
    "total_variation",
    "hellinger",
    "chi2",
    "renyi(0.5)",
    "renyi(0.9)",
    "renyi(4)",
]


def distance(name, num_outcomes):
    """The divergence of this name; sinkhorn over candidates spread at random."""
    if name == "sinkhorn":
        return sinkhorn_divergence(ground_cost(views(1, num_outcomes, 4, seed=9, dtype=torch.float32)))
    return divergence_by_name(name)


def log_probabilities(rows, outcomes, seed, scale=1.0):
    return (scale * views(1, rows, outcomes, seed, requires_grad=False)[0]).log_softmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_definition(name):
    log_p, log_q = log_probabilities(5, 7, 0), log_probabilities(5, 7, 1)
    expected = [slow_divergence(name, p, q) for p, q in zip(log_p.exp(), log_q.exp(), strict=True)]
    torch.testing.assert_close(divergence_by_name(name)(log_p, log_q), torch.stack(expected))


@pytest.mark.parametrize("name", [*NAMES, "sinkhorn"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_vanishes_for_equal_and_is_finite_and_positive_for_others(name, scale, dtype):
    log_p, log_q = (
        log_probabilities(50, 20, 0, scale).to(dtype),
        log_probabilities(50, 20, 1, scale).to(dtype),
    )
    # As in the loss: what comes from bfloat16 is soft-maxed in float32.
    wide = torch.promote_types(dtype, torch.float32)
    a, b = log_p.to(wide).requires_grad_(), log_q.to(wide).requires_grad_()
    divergence = distance(name, 20)
    if name == "sinkhorn" and wide == torch.float64:
        divergence = sinkhorn_divergence(ground_cost(views(1, 20, 4, seed=9)))
    same = divergence(a.log_softmax(-1), a.log_softmax(-1))
    assert same.abs().max() <= (2e-6 if wide == torch.float32 else 1e-12)
    different = divergence(a.log_softmax(-1), b.log_softmax(-1))
    assert (different >= 0).all()
    # At a scale of ten thousand each distribution is a single outcome, the same for some pairs.
    assert (different > 0)[a.argmax(-1) != b.argmax(-1)].all()
    assert different.isfinite().all()
    for gradient in torch.autograd.grad(different.sum(), (a, b)):
        assert gradient.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(same.sum(), a))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_against_finite_differences(name):
    x, y = views(2, 3, 4, seed=3)
    divergence = divergence_by_name(name)
    assert torch.autograd.gradcheck(lambda a, b: divergence(a.log_softmax(-1), b.log_softmax(-1)), (x, y))


@pytest.mark.parametrize("name", NAMES)
def test_excluded_outcomes_count_for_nothing(name):
    divergence = divergence_by_name(name)
    x, y = (view.float() for view in views(2, 6, 5, seed=4, requires_grad=False))
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 3:] = True
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    value = divergence(
        a.masked_fill(mask, EXCLUDED_LOGIT).log_softmax(-1),
        b.masked_fill(mask, EXCLUDED_LOGIT).log_softmax(-1),
    )
    torch.testing.assert_close(value, divergence(x[:, :3].log_softmax(-1), y[:, :3].log_softmax(-1)))
    for gradient in torch.autograd.grad(value.sum(), (a, b)):
        assert gradient.isfinite().all()
        assert (gradient[:, 3:] == 0).all()


def test_bounds_and_coincidences():
    log_p, log_q = log_probabilities(40, 6, 0, 3.0), log_probabilities(40, 6, 1, 3.0)
    value = {name: divergence_by_name(name)(log_p, log_q) for name in NAMES}
    swapped = {name: divergence_by_name(name)(log_q, log_p) for name in NAMES}
    close = torch.testing.assert_close
    close(value["reverse_kl"], swapped["kl"])
    close(value["symmetric_kl"], (value["kl"] + value["reverse_kl"]) / 2)
    close(value["chi2"], divergence_by_name("renyi(2)")(log_p, log_q))
    close(value["renyi(0.5)"], -2 * (1 - value["hellinger"]).log())
    close(divergence_by_name("renyi(1.000001)")(log_p, log_q), value["kl"], rtol=1e-4, atol=0)
    for name in ("symmetric_kl", "js", "total_variation", "hellinger", "renyi(0.5)"):
        close(value[name], swapped[name])
    assert ((value["kl"] - swapped["kl"]).abs() > 0.01).any()
    assert (value["js"] <= math.log(2)).all()
    assert (value["total_variation"] <= 1).all()
    assert (value["hellinger"] <= 1).all()
    assert (value["hellinger"] <= value["total_variation"]).all()


@pytest.mark.parametrize("block_size", [None, 4])
def test_the_kl_family_is_one_penalty_until_a_side_is_stopped(block_size):
    online, target = views(3, 6, 4, seed=0), views(3, 6, 4, seed=1)

    def penalty(name, stop):
        out = relic_loss(
            online,
            target,
            divergence=name,
            penalty_stop_gradient=stop,
            temperature=0.5,
            block_size=block_size,
        )
        return out.invariance.item(), torch.autograd.grad(out.total - out.contrastive, online)[0]

    free = {name: penalty(name, None) for name in ("kl", "reverse_kl", "symmetric_kl")}
    first = {name: penalty(name, "first") for name in free}
    second = {name: penalty(name, "second") for name in free}
    for table in (free, first, second):
        assert len({round(value, 10) for value, _ in table.values()}) == 1
    torch.testing.assert_close(free["kl"][1], free["reverse_kl"][1])
    torch.testing.assert_close(free["kl"][1], free["symmetric_kl"][1])
    torch.testing.assert_close(first["kl"][1], second["reverse_kl"][1])
    torch.testing.assert_close(first["kl"][1] + second["kl"][1], free["kl"][1])
    torch.testing.assert_close(first["symmetric_kl"][1], free["kl"][1] / 2)
    assert (first["kl"][1] - second["kl"][1]).abs().max() > 1e-3


def test_sinkhorn_is_transport():
    # Three points on a line of small angles; all mass moves from the first to the second, or to the third.
    angle = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    cost = ground_cost([torch.stack([angle.cos(), angle.sin()], dim=1)])
    torch.testing.assert_close(cost[0], 1 - angle.cos())
    certain = torch.full((3, 3), EXCLUDED_LOGIT, dtype=torch.float64).fill_diagonal_(0.0)
    divergence = sinkhorn_divergence(cost)
    moved = divergence(certain[[0, 0, 0]], certain)
    torch.testing.assert_close(moved, cost[0])  # between single points the transport is the cost, whatever epsilon
    assert torch.equal(divergence(certain, certain), torch.zeros(3, dtype=torch.float64))


def test_sinkhorn_gradient_is_that_of_its_value():
    x, y = views(2, 2, 5, seed=5)
    divergence = sinkhorn_divergence(ground_cost(views(1, 5, 3, seed=6)), num_iterations=200)

    def of_logits(a, b):
        return divergence(a.log_softmax(-1), b.log_softmax(-1))

    assert torch.autograd.gradcheck(of_logits, (x, y), atol=1e-6)


def test_sinkhorn_agrees_with_a_log_domain_solver():
    log_p, log_q = log_probabilities(1, 6, 0)[0], log_probabilities(1, 6, 1)[0]
    cost = ground_cost(views(1, 6, 3, seed=6))

    def transport(log_a, log_b, eps=0.5):
        f, g = torch.zeros_like(log_a), torch.zeros_like(log_b)
        for _ in range(300):
            f = -eps * (log_b + (g - cost) / eps).logsumexp(1)
            g = -eps * (log_a + (f - cost.T) / eps).logsumexp(1)
        return (log_a.exp() * f).sum() + (log_b.exp() * g).sum()

    expected = transport(log_p, log_q) - transport(log_p, log_p) / 2 - transport(log_q, log_q) / 2
    value = sinkhorn_divergence(cost)(log_p[None], log_q[None])[0]
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-9)


def test_sinkhorn_penalty_trains():
    online, target = views(2, 8, 4, seed=0), views(2, 8, 4, seed=1)
    optimizer = torch.optim.SGD(online, lr=2.0)
    history = []
    for _ in range(20):
        out = relic_loss(online, target, divergence="sinkhorn")
        optimizer.zero_grad()
        out.invariance.backward()
        optimizer.step()
        history.append(out.invariance.item())
    assert history[-1] < 0.7 * history[0]
