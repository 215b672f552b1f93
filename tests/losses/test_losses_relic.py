"""relic_loss against slow loops and values worked by hand, and the promises of its contract."""

import math

import pytest
import torch
from losses_slow_reference import slow_relic, views
from torch.nn import functional

from relic_rl.losses import info_nce_loss, relic_loss, sample_negatives

ALL_DIVERGENCES = [
    "kl",
    "reverse_kl",
    "symmetric_kl",
    "js",
    "total_variation",
    "hellinger",
    "chi2",
    "renyi(0.5)",
    "renyi(3)",
]

SITUATIONS = {
    "two views": dict(),
    "three views": dict(num_views=3),
    "two large views and one small": dict(num_views=3, num_targets=2),
    "one large view and two small": dict(num_views=3, num_targets=1),
    "unnormalised": dict(normalize=False, temperature=2.0),
    "no penalty": dict(alpha=0.0),
    "more candidates, offset": dict(num_candidates=6, positive_offset=2),
    "groups": dict(
        num_candidates=6,
        positive_offset=1,
        anchor_group=torch.tensor([0, 1, 0, 2]),
        target_group=torch.tensor([1, 0, 1, 0, 2, 2]),
    ),
    "negatives": dict(num_candidates=6, negatives=torch.tensor([[1, 5], [3, 1], [0, 4], [5, 5]])),
    "negatives within groups": dict(
        negatives=torch.tensor([[1, 2], [0, 2], [0, 3], [0, 1]]),
        anchor_group=torch.tensor([0, 0, 1, 1]),
        target_group=torch.tensor([0, 0, 1, 1]),
    ),
    "stopped first": dict(num_views=3, num_targets=2, penalty_stop_gradient="first"),
    "stopped second": dict(num_views=3, num_targets=2, penalty_stop_gradient="second"),
}


def situation(name, **more):
    """Tensors and options of a named case."""
    options = {"temperature": 0.4, "alpha": 0.7, **SITUATIONS[name], **more}
    num_views = options.pop("num_views", 2)
    num_targets = options.pop("num_targets", num_views)
    online = views(num_views, 4, 3, seed=0)
    target = views(num_targets, options.pop("num_candidates", 4), 3, seed=1)
    return online, target, options


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize(
    ("name", "divergence"),
    [(name, "kl") for name in SITUATIONS]
    + [("groups", divergence) for divergence in ALL_DIVERGENCES[1:]]
    + [("stopped second", divergence) for divergence in ALL_DIVERGENCES[1:]],
)
def test_equals_the_loops(name, divergence, block_size):
    online, target, options = situation(name, divergence=divergence)
    tau = torch.tensor(options.pop("temperature"), dtype=torch.float64, requires_grad=True)
    inputs = [*online, *target, tau]

    out = relic_loss(online, target, temperature=tau, block_size=block_size, **options)
    total, contrastive, invariance = slow_relic(online, target, temperature=tau, **options)

    assert out.contrastive.item() == pytest.approx(contrastive.item(), rel=1e-10)
    assert out.invariance.item() == pytest.approx(invariance.item(), rel=1e-9, abs=1e-12)
    assert out.total.item() == (out.contrastive + options["alpha"] * out.invariance).item()
    for ours, theirs in zip(
        torch.autograd.grad(out.total, inputs, materialize_grads=True),
        torch.autograd.grad(total, inputs, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("block_size", [None, 1])
def test_value_worked_by_hand(block_size):
    # Logits [[ln 3, 0], [0, ln 3]] and [[0, ln 3], [0, 0]]:
    # p = (3/4, 1/4), (1/4, 3/4) and q = (1/4, 3/4), (1/2, 1/2).
    eye = torch.eye(2, dtype=torch.float64)
    second = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    out = relic_loss(
        [eye, second],
        [eye, eye],
        temperature=1 / math.log(3),
        alpha=2.0,
        normalize=False,
        block_size=block_size,
    )
    contrastive = -(2 * math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 4
    first_anchor = 0.5 * math.log(3)  # KL both ways: (3/4 - 1/4) ln 3
    second_anchor_pq = 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)
    second_anchor_qp = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    invariance = (first_anchor + (second_anchor_pq + second_anchor_qp) / 2) / 2
    assert out.contrastive.item() == pytest.approx(contrastive, rel=1e-12)
    assert out.invariance.item() == pytest.approx(invariance, rel=1e-12)
    assert out.total.item() == pytest.approx(contrastive + 2 * invariance, rel=1e-12)
    assert out.accuracy.item() == 0.5  # right twice, wrong once, and a tie, which does not count


def test_two_views_are_r2_over_2n():
    online, target, _ = situation("two views")
    u, v = ([functional.normalize(x, dim=1) for x in side] for side in (online, target))
    p = (u[0] @ v[1].T / 0.4).softmax(1)
    q = (u[1] @ v[0].T / 0.4).softmax(1)
    summed = -(p.diagonal().log() + q.diagonal().log()).sum() + 0.7 * ((p - q) * (p.log() - q.log())).sum()
    out = relic_loss(online, target, temperature=0.4, alpha=0.7)
    torch.testing.assert_close(out.total, summed / (2 * len(u[0])))


@pytest.mark.parametrize("block_size", [None, 5])
def test_infonce_is_cross_entropy(block_size):
    online, target = views(2, 12, 5, seed=0), views(2, 12, 5, seed=1)
    out = info_nce_loss(online, target, temperature=0.2, block_size=block_size)
    u, v = ([functional.normalize(x, dim=1) for x in side] for side in (online, target))
    labels = torch.arange(12)
    expected = sum(functional.cross_entropy(u[view] @ v[1 - view].T / 0.2, labels) for view in (0, 1)) / 2
    torch.testing.assert_close(out.total, expected)
    for ours, theirs in zip(
        torch.autograd.grad(out.total, online + target),
        torch.autograd.grad(expected, online + target),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("block_size", [None, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_alpha_zero_is_infonce_bit_for_bit(block_size, dtype):
    online, target = views(3, 12, 5, seed=0, dtype=dtype), views(3, 12, 5, seed=1, dtype=dtype)
    options = dict(temperature=0.05, block_size=block_size)
    zero = relic_loss(online, target, alpha=0.0, divergence="js", **options)
    plain = info_nce_loss(online, target, **options)
    within = relic_loss(online, target, alpha=1.0, **options)
    assert torch.equal(zero.total, plain.total)
    assert torch.equal(zero.total, zero.contrastive)
    assert torch.equal(zero.total, within.contrastive)
    gradients = [
        torch.autograd.grad(scalar, online + target) for scalar in (zero.total, plain.total, within.contrastive)
    ]
    for of_zero, of_plain, of_within in zip(*gradients, strict=True):
        assert torch.equal(of_zero, of_plain)
        torch.testing.assert_close(of_zero, of_within, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("block_size", [None, 5])
def test_alpha_zero_detaches_the_penalty_and_survives_a_huge_one(block_size):
    online, target = views(2, 6, 3, seed=0), views(2, 6, 3, seed=1)
    out = relic_loss(online, target, alpha=0.0, block_size=block_size)
    assert not out.invariance.requires_grad
    assert not out.accuracy.requires_grad
    assert out.invariance > 0
    huge = relic_loss([1e3 * x for x in online], target, alpha=0.0, normalize=False, block_size=block_size)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(huge.total, online + target))


@pytest.mark.parametrize("term", ["total", "contrastive", "invariance"])
@pytest.mark.parametrize("block_size", [None, 5])
def test_every_term_carries_gradient_to_every_view(term, block_size):
    online, target, tau = (
        views(3, 6, 4, seed=0),
        views(3, 6, 4, seed=1),
        torch.tensor(0.3, requires_grad=True),
    )
    out = relic_loss(online, target, temperature=tau, block_size=block_size)
    for gradient in torch.autograd.grad(getattr(out, term), [*online, *target, tau]):
        assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("block_size", [None, 5])
def test_detached_target_receives_no_gradient(block_size):
    online, target = views(2, 6, 4, seed=0), views(2, 6, 4, seed=1)
    relic_loss(online, [x.detach() for x in target], block_size=block_size).total.backward()
    assert all(x.grad is None for x in target)
    assert all(x.grad.abs().max() > 0 for x in online)


@pytest.mark.parametrize("block_size", [None, 5])
def test_shared_network_receives_gradient_from_both_sides(block_size):
    shared = views(2, 6, 4, seed=0)
    both = torch.autograd.grad(relic_loss(shared, shared, block_size=block_size).total, shared)
    held = [x.detach() for x in shared]
    as_online = torch.autograd.grad(relic_loss(shared, held, block_size=block_size).total, shared)
    as_target = torch.autograd.grad(relic_loss(held, shared, block_size=block_size).total, shared)
    for whole, one, other in zip(both, as_online, as_target, strict=True):
        torch.testing.assert_close(whole, one + other)


@pytest.mark.parametrize("divergence", ["kl", "js", "hellinger", "chi2", "renyi(0.5)"])
@pytest.mark.parametrize("block_size", [None, 2])
def test_gradcheck(divergence, block_size):
    online, target = views(2, 3, 2, seed=0), views(2, 4, 2, seed=1)
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    groups = dict(anchor_group=torch.tensor([0, 0, 1]), target_group=torch.tensor([0, 0, 1, 1]))

    def total(u_1, u_2, v_1, v_2, temperature):
        return relic_loss(
            [u_1, u_2],
            [v_1, v_2],
            temperature=temperature,
            divergence=divergence,
            block_size=block_size,
            **groups,
        ).total

    assert torch.autograd.gradcheck(total, (*online, *target, tau))


@pytest.mark.parametrize("block_size", [None, 16])
def test_falls_in_twenty_steps(block_size):
    online, target = (
        views(2, 32, 8, seed=0, dtype=torch.float32),
        views(2, 32, 8, seed=1, dtype=torch.float32),
    )
    log_tau = torch.tensor(-1.0, requires_grad=True)
    optimizer = torch.optim.Adam([*online, *target, log_tau], lr=0.05)
    history = []
    for _ in range(20):
        out = relic_loss(online, target, temperature=log_tau.exp(), block_size=block_size)
        optimizer.zero_grad()
        out.total.backward()
        optimizer.step()
        history.append((out.total.item(), out.contrastive.item(), out.invariance.item()))
    assert all(last < 0.7 * first for first, last in zip(history[0], history[-1], strict=True))
    assert log_tau.item() != -1.0


@pytest.mark.parametrize("block_size", [None, 3])
def test_two_ranks_are_one_batch(block_size):
    online, target = views(2, 8, 4, seed=0), views(2, 8, 4, seed=1)
    group = torch.tensor([0, 0, 1, 1, 2, 0, 3, 3])
    options = dict(temperature=0.3, block_size=block_size, target_group=group)
    whole = relic_loss(online, target, anchor_group=group, **options)
    ranks = [
        relic_loss([x[rows] for x in online], target, anchor_group=group[rows], positive_offset=rows.start, **options)
        for rows in (slice(0, 4), slice(4, 8))
    ]
    for ours, first, second in zip(whole, *ranks, strict=True):
        torch.testing.assert_close(ours, (first + second) / 2)
    mean = (ranks[0].total + ranks[1].total) / 2
    for ours, theirs in zip(
        torch.autograd.grad(whole.total, online + target),
        torch.autograd.grad(mean, online + target),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("divergence", ALL_DIVERGENCES)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_left_out_candidates_have_no_influence_at_all(divergence, block_size, scale):
    online, target = views(2, 6, 3, seed=0), views(2, 6, 3, seed=1)
    same = torch.zeros(6, dtype=torch.int64)  # one group: only the positive is left, with probability one
    out = relic_loss(
        [scale * x for x in online], target, divergence=divergence, normalize=False, block_size=block_size,
        anchor_group=same, target_group=same,
    )  # fmt: skip
    assert (out.contrastive.item(), out.invariance.item(), out.accuracy.item()) == (0.0, 0.0, 1.0)
    for gradient in torch.autograd.grad(out.total, online + target):
        assert gradient.abs().max() < 1e-10  # zero but for the rounding of p - 1, times the scale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("divergence", [*ALL_DIVERGENCES, "sinkhorn"])
@pytest.mark.parametrize("block_size", [None, 4])
def test_finite_for_logits_of_ten_thousand(divergence, dtype, block_size):
    if divergence == "sinkhorn" and block_size is not None:
        pytest.skip("sinkhorn is dense only")
    online, target = views(3, 6, 3, seed=0, dtype=dtype), views(3, 6, 3, seed=1, dtype=dtype)
    out = relic_loss(
        online, target, temperature=1e-4, divergence=divergence, block_size=block_size,
        anchor_group=torch.tensor([0, 0, 1, 2, 3, 4]), target_group=torch.tensor([0, 0, 1, 2, 3, 4]),
    )  # fmt: skip
    assert out.total.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert out.total.isfinite()
    assert out.invariance > 0
    for leaf, gradient in zip(online + target, torch.autograd.grad(out.total, online + target), strict=True):
        assert gradient.isfinite().all()
        assert gradient.dtype == leaf.dtype


def test_bf16_inputs_are_soft_maxed_in_fp32():
    online, target = (views(2, 32, 8, seed=s, dtype=torch.bfloat16, requires_grad=False) for s in (0, 1))
    narrow = relic_loss(online, target, temperature=0.02)
    wide = relic_loss([x.float() for x in online], [x.float() for x in target], temperature=0.02)
    assert all(torch.equal(a, b) for a, b in zip(narrow, wide, strict=True))


@pytest.mark.parametrize("block_size", [None, 8])
def test_autocast_does_not_narrow_the_products(block_size):
    online, target = (views(2, 32, 8, seed=s, dtype=torch.float32, requires_grad=False) for s in (0, 1))
    plain = relic_loss(online, target, block_size=block_size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = relic_loss(online, target, block_size=block_size)
    assert all(torch.equal(a, b) for a, b in zip(plain, under, strict=True))


def test_collapse_scores_ln_m_and_no_accuracy():
    collapsed = [torch.ones(8, 3)] * 2
    out = relic_loss(collapsed, collapsed)
    assert out.contrastive.item() == pytest.approx(math.log(8), rel=1e-6)
    assert (out.invariance.item(), out.accuracy.item()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(online=views(1, 4, 3, 0)), "V >= 2"),
        (dict(target=views(3, 4, 3, 0)), "1 to V"),
        (dict(target=[]), "1 to V"),
        (dict(online=[torch.ones(4, 3), torch.ones(5, 3)]), "one shape"),
        (dict(target=views(2, 4, 2, 0)), "features"),
        (dict(target=views(2, 3, 3, 0)), "do not fit"),
        (dict(positive_offset=1), "do not fit"),
        (dict(positive_offset=-1), "do not fit"),
        (dict(temperature=0.0), "temperature"),
        (dict(temperature=float("nan")), "temperature"),
        (dict(temperature=torch.ones(1)), "0-d"),
        (dict(alpha=-1.0), "alpha"),
        (dict(alpha=float("inf")), "alpha"),
        (dict(block_size=0), "block_size"),
        (dict(divergence="euclid"), "unknown divergence"),
        (dict(divergence="renyi(1)"), "order"),
        (dict(divergence="renyi(-2)"), "order"),
        (dict(divergence="renyi(x)"), "order"),
        (dict(divergence="sinkhorn", block_size=2), "blockwise"),
        (dict(penalty_stop_gradient="both"), "penalty_stop_gradient"),
        (dict(anchor_group=torch.zeros(4, dtype=torch.int64)), "both or neither"),
        (dict(anchor_group=torch.zeros(3), target_group=torch.zeros(4)), "anchor_group"),
        (dict(negatives=torch.zeros(3, 2, dtype=torch.int64)), "negatives"),
        (dict(target=views(1, 4, 3, 0)), "one target"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, says):
    arguments = {"online": views(2, 4, 3, 0), "target": views(2, 4, 3, 1), **change}
    with pytest.raises(ValueError, match=says) as raised:
        relic_loss(**arguments)
    assert "\n" not in str(raised.value)


def test_sampled_negatives():
    generator = torch.Generator().manual_seed(0)
    drawn = sample_negatives(2000, 2005, 3, positive_offset=5, generator=generator)
    assert drawn.shape == (2000, 3)
    assert (drawn != torch.arange(2000)[:, None] + 5).all()
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    everyone = sample_negatives(4, 4, 3).sort(dim=1).values
    assert everyone.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    often = torch.stack([sample_negatives(1, 5, 2, generator=generator) for _ in range(2000)]).flatten().bincount()
    assert often[0] == 0
    assert (often[1:] - 1000).abs().max() < 120  # five standard deviations
    with pytest.raises(ValueError, match="cannot draw 4"):
        sample_negatives(4, 4, 4)
