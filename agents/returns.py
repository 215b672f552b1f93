"""Advantages and returns for on-policy agents.

Time index convention: ``v_tm1`` is the value of the observation acted on, ``r_t`` and ``discount_t`` belong
to the transition that follows, ``v_t`` is the value of the observation the transition led to.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(
    r_t: Tensor, discount_t: Tensor, boundary_t: Tensor, v_tm1: Tensor, v_t: Tensor, *, lambda_: float
) -> Tensor:
    """Generalised advantage estimation.

    ``A_t = delta_t + discount_t lambda A_{t+1}`` with ``delta_t = r_t + discount_t v_t - v_tm1``, the sum
    ending at every boundary. A terminated transition has ``discount_t = 0`` (nothing to bootstrap from); a
    truncated one keeps its discount, so it bootstraps from ``v_t``, the value of its true final observation,
    and only the sum stops.

    Args:
        r_t: rewards, float [T, N] (T: time, N: environments).
        discount_t: discount, float [T, N]; 0 where the return must not bootstrap.
        boundary_t: bool [T, N]; the episode ended with this transition, by termination or by truncation.
        v_tm1: values before the transition, float [T, N].
        v_t: values after the transition, float [T, N].
        lambda_: mixing weight in [0, 1].

    Returns:
        Advantages, float [T, N].

    Source: Schulman et al., 2016 (arXiv 1506.02438), eq. 16; truncation as in Pardo et al., 2018 (arXiv
    1712.00378).
    """
    delta_t = r_t + discount_t * v_t - v_tm1
    carry_t = discount_t * lambda_ * (~boundary_t)
    advantages = torch.empty_like(delta_t)
    running = torch.zeros_like(delta_t[0])
    for t in range(delta_t.shape[0] - 1, -1, -1):
        running = delta_t[t] + carry_t[t] * running
        advantages[t] = running
    return advantages
