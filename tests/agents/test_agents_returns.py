"""Advantages against a recursion written from the definition, one environment and one step at a time."""

import pytest
import torch

from agents.returns import generalized_advantages


def slow_advantage(t, column, lambda_):
    """A_t of one environment by its definition: delta_t plus, inside an episode, the discounted A_{t+1}."""
    rewards, discounts, boundaries, v_tm1, v_t = column
    delta = rewards[t] + discounts[t] * v_t[t] - v_tm1[t]
    if boundaries[t] or t + 1 == len(rewards):
        return delta
    return delta + discounts[t] * lambda_ * slow_advantage(t + 1, column, lambda_)


def random_case(seed, steps=17, envs=5):
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 6, (steps, envs), generator=generator)
    terminated, truncated = kind == 0, kind == 1
    return {
        "r_t": torch.randn(steps, envs, generator=generator, dtype=torch.float64),
        "discount_t": 0.9 * (~terminated).double(),
        "boundary_t": terminated | truncated,
        "v_tm1": torch.randn(steps, envs, generator=generator, dtype=torch.float64),
        "v_t": torch.randn(steps, envs, generator=generator, dtype=torch.float64),
    }


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 0.95, 1.0])
def test_agrees_with_the_recursion(lambda_):
    for seed in range(5):
        case = random_case(seed)
        boundary = case["boundary_t"]
        assert boundary[1:-1].any()
        fast = generalized_advantages(**case, lambda_=lambda_)
        for i in range(boundary.shape[1]):
            names = ("r_t", "discount_t", "boundary_t", "v_tm1", "v_t")
            column = [case[name][:, i].tolist() for name in names]
            slow = [slow_advantage(t, column, lambda_) for t in range(boundary.shape[0])]
            assert fast[:, i].tolist() == pytest.approx(slow, abs=1e-12)


def times(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_by_hand():
    """Steps: one inside a game, its game over, one of the next game, its truncation."""
    advantages = generalized_advantages(
        r_t=times(1, 2, 3, 4),
        discount_t=times(0.5, 0.0, 0.5, 0.5),
        boundary_t=times(0, 1, 0, 1).bool(),
        v_tm1=times(10, 20, 30, 40),
        v_t=times(20, 1000, 40, 60),
        lambda_=0.5,
    )
    # delta: 1 + 10 - 10 = 1; 2 - 20 = -18 (1000 is not looked at); 3 + 20 - 30 = -7; 4 + 30 - 40 = -6.
    assert advantages[:, 0].tolist() == [1 + 0.25 * -18, -18, -7 + 0.25 * -6, -6]


def test_lambda_one_is_the_return_minus_the_value():
    case = random_case(3)
    inside = ~case["boundary_t"][:-1]
    case["v_t"][:-1][inside] = case["v_tm1"][1:][inside]  # as where both are values of one observation
    fast = generalized_advantages(**case, lambda_=1.0)
    steps, envs = fast.shape
    for i in range(envs):
        for t in range(steps):
            total, factor, k = 0.0, 1.0, t
            while True:
                total += factor * case["r_t"][k, i].item()
                factor *= case["discount_t"][k, i].item()
                if case["boundary_t"][k, i] or k + 1 == steps:
                    break
                k += 1
            total += factor * case["v_t"][k, i].item()
            assert fast[t, i].item() == pytest.approx(total - case["v_tm1"][t, i].item(), abs=1e-10)


def test_nothing_crosses_a_boundary():
    case = random_case(1)
    case["boundary_t"][8] = True
    reference = generalized_advantages(**case, lambda_=0.95)
    poisoned = {name: value.clone() for name, value in case.items()}
    for name in ("r_t", "v_tm1", "v_t"):
        poisoned[name][9:] = 1e30
    changed = generalized_advantages(**poisoned, lambda_=0.95)
    assert torch.equal(changed[:9], reference[:9])
    assert not torch.equal(changed[9:], reference[9:])
