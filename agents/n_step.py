"""n-step double Q-learning targets on sequences, the window ending where its episode ends.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning",
sec. 2.3; double Q-learning of van Hasselt et al., 2016 (arXiv 1509.06461).
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.value_rescaling import rescale, unrescale


def n_step_double_q_targets(
    r_t: Tensor,
    discount_t: Tensor,
    boundary_t: Tensor,
    q_online: Tensor,
    q_target: Tensor,
    n: int,
) -> Tensor:
    """h(sum of discounted rewards + discount * h^-1(Q_target(s', argmax Q_online(s', .)))).

    The window of step k holds the transitions k to k + n - 1, fewer where one of them is a boundary: it is
    the last then, and s' is the observation it led to, the episode's final one. Where that boundary is a
    termination its discount is 0 and nothing is bootstrapped; where it is a truncation, s' is bootstrapped
    from.

    Args:
        r_t: float [M + n - 1, B], raw rewards of the transitions (M: steps, B: sequences).
        discount_t: float [M + n - 1, B], discounts of the transitions; 0 where the return ends.
        boundary_t: bool [M + n - 1, B], the transition was its episode's last.
        q_online: float [M + n, B, A], action values, on the scale of h, of the observations that the
            transitions leave and of the last one.
        q_target: float [M + n, B, A], the same of the target network.
        n: length of the window.

    Returns:
        float [M, B], targets on the scale of h, without gradient. Steps beyond an episode's end get arbitrary
        numbers, and no other step's target depends on what lies there.
    """
    with torch.no_grad():
        steps = len(q_online) - n
        total = torch.zeros_like(r_t[:steps])
        discount = torch.ones_like(total)
        inside = torch.ones_like(total, dtype=torch.bool)  # the window has not ended yet
        length = torch.zeros_like(total, dtype=torch.int64)
        for i in range(n):
            here = slice(i, i + steps)
            total = torch.where(inside, total + discount * r_t[here], total)
            discount = torch.where(inside, discount * discount_t[here], discount)
            length += inside
            inside = inside & ~boundary_t[here]
        end = torch.arange(steps, device=length.device)[:, None] + length  # [M, B], row of s'
        best = q_online.argmax(-1)
        value = unrescale(q_target.gather(-1, best[..., None]).squeeze(-1)).gather(0, end)
        # Not discount * value alone: 0 times a value that is not finite would be nan.
        return rescale(total + torch.where(discount > 0, discount * value, 0.0))


def sequence_priorities(td_error: Tensor, mask: Tensor, eta: float) -> Tensor:
    """eta max |delta| + (1 - eta) mean |delta| over the steps of each sequence.

    Args:
        td_error: float [M, B].
        mask: bool [M, B]; steps that do not exist are left out.
        eta: weight of the maximum, in [0, 1].

    Returns:
        float [B], detached; 0 for a sequence without steps.
    """
    size = torch.where(mask, td_error.detach().abs(), 0.0)
    mean = size.sum(0) / mask.sum(0).clamp(min=1)
    return eta * size.amax(0) + (1 - eta) * mean
