"""Value rescaling, n-step double-Q targets and priorities against definitions written out one step at a time."""

import math

import pytest
import torch

from agents.n_step import n_step_double_q_targets, sequence_priorities
from agents.value_rescaling import rescale, unrescale


def slow_h(z: float) -> float:
    return math.copysign(math.sqrt(abs(z) + 1) - 1, z) + 1e-3 * z


def slow_inverse(x: float) -> float:
    """By bisection of h, which grows."""
    low, high = -1e7, 1e7
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slow_h(middle) < x else (low, middle)
    return low


def test_rescaling_values_by_hand() -> None:
    x = torch.tensor([0.0, 3.0, -8.0, 99.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 1.003, -2.008, 9.099], dtype=torch.float64)
    torch.testing.assert_close(rescale(x), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 6e-6)])
def test_rescaling_inverts(dtype: torch.dtype, rtol: float) -> None:
    size = torch.logspace(-1, 6, 200, dtype=dtype)
    x = torch.cat([-size, torch.zeros(1, dtype=dtype), size])
    torch.testing.assert_close(unrescale(rescale(x)), x, rtol=rtol, atol=0)
    small = x[x.abs() < 100]
    torch.testing.assert_close(rescale(unrescale(small)), small, rtol=rtol, atol=0)
    assert unrescale(torch.tensor(5.0, dtype=torch.float64)).item() == pytest.approx(slow_inverse(5.0))


def slow_target(k, n, rewards, discounts, boundaries, q_online, q_target):
    """The target of step k of one sequence, from the definition."""
    total, discount = 0.0, 1.0
    for i in range(k, k + n):
        total += discount * rewards[i]
        discount *= discounts[i]
        if boundaries[i] or i == k + n - 1:
            row = i + 1
            break
    best = max(range(len(q_online[row])), key=lambda a: q_online[row][a])
    bootstrap = discount * slow_inverse(q_target[row][best]) if discount else 0.0
    return slow_h(total + bootstrap)


def random_sequences(seed: int, steps: int, n: int, batch: int = 24) -> dict[str, torch.Tensor]:
    """Sequences that terminate, truncate, lose lives and start again anywhere."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 12, (steps + n - 1, batch), generator=g)

    def normal(*shape: int) -> torch.Tensor:
        return 4 * torch.randn(*shape, generator=g, dtype=torch.float64)

    return {
        "r_t": normal(steps + n - 1, batch),
        # 0: terminated, 1: truncated, 2: a lost life that ends the return but not the episode
        "discount_t": 0.9 * ((kind != 0) & (kind != 2)).double(),
        "boundary_t": (kind == 0) | (kind == 1),
        "q_online": normal(steps + n, batch, 3),
        "q_target": normal(steps + n, batch, 3),
    }


@pytest.mark.parametrize("n", [1, 3, 5])
def test_targets_against_definition(n: int) -> None:
    case = random_sequences(n, 7, n)
    got = n_step_double_q_targets(**case, n=n)
    assert got.shape == (7, 24)
    for b in range(24):
        column = [case[name][:, b].tolist() for name in case]
        for k in range(7):
            assert got[k, b].item() == pytest.approx(slow_target(k, n, *column), rel=1e-9, abs=1e-9)


def test_target_by_hand() -> None:
    """Truncated after two of three steps: bootstraps from the final observation with gamma^2."""
    q_online = torch.zeros(4, 1, 2, dtype=torch.float64)
    q_online[2, 0, 1] = 1.0  # the online network prefers action 1 there
    q_target = torch.zeros(4, 1, 2, dtype=torch.float64)
    q_target[2, 0] = torch.tensor([9.0, 1.003], dtype=torch.float64)  # h(3) for action 1; the larger value is not taken
    target = n_step_double_q_targets(
        r_t=torch.tensor([[1.0], [2.0], [100.0]], dtype=torch.float64),
        discount_t=torch.full((3, 1), 0.5, dtype=torch.float64),
        boundary_t=torch.tensor([[False], [True], [False]]),
        q_online=q_online,
        q_target=q_target,
        n=3,
    )
    z = 1 + 0.5 * 2 + 0.25 * 3
    assert target.item() == pytest.approx(math.sqrt(z + 1) - 1 + 1e-3 * z, rel=1e-9)


def test_nothing_behind_an_end_matters() -> None:
    """Rewards and values behind an end, and the values a termination leads to, may be anything, nan included."""
    case = random_sequences(7, 6, 4)
    clean = n_step_double_q_targets(**case, n=4)
    first_end = torch.where(case["boundary_t"].any(0), case["boundary_t"].int().argmax(0), 99)
    poisoned = {name: value.clone() for name, value in case.items()}
    for b, end in enumerate(first_end.tolist()):
        terminated = end < 99 and bool(case["discount_t"][end, b] == 0)
        poisoned["r_t"][end + 1 :, b] = float("nan")
        for name in ("q_online", "q_target"):
            poisoned[name][end + 2 - terminated :, b] = float("inf") if name == "q_target" else float("nan")
    got = n_step_double_q_targets(**poisoned, n=4)
    checked = 0
    for b, end in enumerate(first_end.tolist()):
        steps = min(end + 1, 6)
        torch.testing.assert_close(got[:steps, b], clean[:steps, b], rtol=0, atol=0)
        checked += steps < 6
    assert checked > 5


def test_targets_carry_no_gradient() -> None:
    case = random_sequences(3, 4, 2)
    case["q_online"].requires_grad_()
    case["q_target"].requires_grad_()
    assert not n_step_double_q_targets(**case, n=2).requires_grad


def test_priorities_by_hand() -> None:
    td_error = torch.tensor([[1.0, -4.0, 7.0], [-3.0, 1e9, 7.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    got = sequence_priorities(td_error, mask, eta=0.9)
    torch.testing.assert_close(got, torch.tensor([0.9 * 3 + 0.1 * 2, 4.0, 0.0]))
    assert not got.requires_grad
