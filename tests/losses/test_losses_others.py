"""NT-Xent, BYOL, CURL and AMDIM: reference values, loops, values by hand, the full batch in two halves."""

import json
import math
from pathlib import Path

import pytest
import torch
from losses_slow_reference import views
from torch.nn import functional

from relic_rl.losses import amdim_nce_loss, byol_loss, curl_loss, nt_xent_loss

REFERENCE = json.loads((Path(__file__).parent / "ntxent_reference.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"{len(case['z_1'])} rows")
def test_nt_xent_equals_lightly(case):
    z_1, z_2 = (torch.tensor(case[name], dtype=torch.float64, requires_grad=True) for name in ("z_1", "z_2"))
    loss = nt_xent_loss(z_1, z_2, temperature=case["temperature"])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-10, abs=1e-12)
    for ours, name in zip(torch.autograd.grad(loss, (z_1, z_2)), ("grad_1", "grad_2"), strict=True):
        torch.testing.assert_close(ours, torch.tensor(case[name], dtype=torch.float64), rtol=1e-8, atol=1e-12)


def slow_nt_xent(z_1, z_2, temperature):
    z = [row / row.norm() for row in torch.cat([z_1, z_2])]
    half = len(z_1)
    total = 0.0
    for i in range(2 * half):
        others = [k for k in range(2 * half) if k != i]
        scores = {k: math.exp((z[i] @ z[k]).item() / temperature) for k in others}
        total -= math.log(scores[(i + half) % (2 * half)] / sum(scores.values()))
    return total / (2 * half)


def test_nt_xent_equals_the_loop():
    z_1, z_2 = views(2, 5, 3, seed=0, requires_grad=False)
    assert nt_xent_loss(z_1, z_2, temperature=0.3).item() == pytest.approx(slow_nt_xent(z_1, z_2, 0.3), rel=1e-12)


def halves_equal_the_whole(whole, half, inputs):
    """Mean over two ranks of `half(rows)` has the value and gradients of `whole`."""
    mean = (half(slice(0, 3)) + half(slice(3, 6))) / 2
    torch.testing.assert_close(mean, whole)
    for ours, theirs in zip(torch.autograd.grad(mean, inputs), torch.autograd.grad(whole, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nt_xent_in_two_ranks():
    z_1, z_2 = views(2, 6, 4, seed=0)
    halves_equal_the_whole(
        nt_xent_loss(z_1, z_2),
        lambda rows: nt_xent_loss(z_1[rows], z_2[rows], candidates_1=z_1, candidates_2=z_2, positive_offset=rows.start),
        [z_1, z_2],
    )


def test_byol_by_hand():
    a = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]], requires_grad=True)
    b = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    assert byol_loss(a, b).item() == pytest.approx((0 + 2 + 4) / 3)
    byol_loss(a, b.detach()).backward()
    assert a.grad.abs().max() > 0
    assert b.grad is None


def test_byol_is_the_squared_distance_of_unit_vectors():
    a, b = views(2, 6, 4, seed=0)
    expected = (functional.normalize(a, dim=1) - functional.normalize(b, dim=1)).square().sum(1).mean()
    torch.testing.assert_close(byol_loss(a, b), expected)
    halves_equal_the_whole(byol_loss(a, b), lambda rows: byol_loss(a[rows], b[rows]), [a, b])


def test_curl_equals_the_loop_and_two_ranks():
    query, key = views(2, 6, 4, seed=0)
    weight = views(1, 4, 4, seed=1)[0]
    total = 0.0
    for i in range(6):
        scores = [(query[i] @ weight @ key[j]).item() for j in range(6)]
        total -= math.log(math.exp(scores[i]) / sum(math.exp(score) for score in scores))
    whole = curl_loss(query, key, weight)
    assert whole.item() == pytest.approx(total / 6, rel=1e-12)
    halves_equal_the_whole(
        whole,
        lambda rows: curl_loss(query[rows], key, weight, positive_offset=rows.start),
        [query, key, weight],
    )
    assert curl_loss(query, key, torch.zeros(4, 4)).item() == pytest.approx(math.log(6))
    assert curl_loss(1e4 * query, key, weight).isfinite()


def test_amdim_equals_the_loop_and_two_ranks():
    source = (5 * views(1, 6, 4, seed=0)[0]).detach().requires_grad_()
    target = views(1, 6 * 3, 4, seed=1)[0].detach().reshape(6, 3, 4).requires_grad_()
    nce, squares = [], []
    for i in range(6):
        raw = {(j, n): (source[i] @ target[j, n]).item() / 2 for j in range(6) for n in range(3)}
        clipped = {at: 10 * math.tanh(score / 10) for at, score in raw.items()}
        negatives = sum(math.exp(score) for (j, _), score in clipped.items() if j != i)
        nce += [-math.log(math.exp(clipped[i, n]) / (math.exp(clipped[i, n]) + negatives)) for n in range(3)]
        squares += [score**2 for score in raw.values()]
    whole = amdim_nce_loss(source, target)
    assert whole.item() == pytest.approx(sum(nce) / 18 + 1e-3 * sum(squares) / (6 * 18), rel=1e-12)
    halves_equal_the_whole(
        whole, lambda rows: amdim_nce_loss(source[rows], target, positive_offset=rows.start), [source, target]
    )
    assert amdim_nce_loss(1e6 * source, target, penalty_weight=0.0) <= math.log(1 + 15 * math.exp(20))


def test_losses_fall_in_twenty_steps():
    a, b = views(2, 16, 8, seed=0, dtype=torch.float32)
    weight = torch.eye(8).requires_grad_()
    for loss in (
        lambda: nt_xent_loss(a, b),
        lambda: byol_loss(a, b),
        lambda: curl_loss(a, b, weight),
        lambda: amdim_nce_loss(a, b[:, None]),
    ):
        optimizer = torch.optim.Adam([a, b, weight], lr=0.05)
        first = loss().item()
        for _ in range(20):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        assert loss().item() < 0.8 * first
        with torch.no_grad():
            for leaf, fresh in zip((a, b), views(2, 16, 8, seed=0, dtype=torch.float32), strict=True):
                leaf.copy_(fresh)


def test_bf16_inputs_give_fp32_losses():
    a, b = views(2, 6, 4, seed=0, dtype=torch.bfloat16, requires_grad=False)
    eye = torch.eye(4, dtype=torch.bfloat16)
    for narrow, wide in (
        (nt_xent_loss(a, b), nt_xent_loss(a.float(), b.float())),
        (byol_loss(a, b), byol_loss(a.float(), b.float())),
        (curl_loss(a, b, eye), curl_loss(a.float(), b.float(), eye.float())),
        (amdim_nce_loss(a, b[:, None]), amdim_nce_loss(a.float(), b[:, None].float())),
    ):
        assert torch.equal(narrow, wide)


def test_autocast_does_not_narrow_the_products():
    a, b = views(2, 32, 8, seed=0, dtype=torch.float32, requires_grad=False)
    eye = torch.eye(8)
    for loss in (
        lambda: nt_xent_loss(a, b),
        lambda: byol_loss(a, b),
        lambda: curl_loss(a, b, eye),
        lambda: amdim_nce_loss(a, b[:, None]),
    ):
        plain = loss()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(), plain)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: nt_xent_loss(a, a[:3]),
        lambda a: nt_xent_loss(a, a, candidates_1=a),
        lambda a: nt_xent_loss(a, a, positive_offset=1),
        lambda a: byol_loss(a, a[:3]),
        lambda a: byol_loss(a[0], a[0]),
        lambda a: curl_loss(a, a, torch.eye(3)),
        lambda a: curl_loss(a, a[:3], torch.eye(2)),
        lambda a: amdim_nce_loss(a, a),
        lambda a: amdim_nce_loss(a, a[:3, None]),
        lambda a: amdim_nce_loss(a, a[:, None], clip=0.0),
    ],
)
def test_bad_input_is_refused_in_one_line(call):
    with pytest.raises(ValueError, match=r"_loss") as raised:
        call(torch.ones(4, 2))
    assert "\n" not in str(raised.value)
