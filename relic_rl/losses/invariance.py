"""The invariance penalty: how far an anchor's distributions under all interventions are from each other.

Source: Mitrovic et al., ICLR 2021 (arXiv 2010.07922), the second sum of (R2); ReLICv2 (arXiv 2201.05119) for
the stop-gradient on one side.

Departures: the mean, not the sum, over ordered pairs of distinct interventions; any divergence in place of
KL.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from relic_rl.losses.divergences import SYMMETRIC, Divergence, kl, reverse_kl, symmetric_kl

StopGradient = Literal["first", "second"]


class KLSides(NamedTuple):
    """How much gradient flows through the arguments of KL(p || q), summed over all ordered pairs."""

    first: float
    second: float


def kl_sides(divergence: Divergence, stop_gradient: StopGradient | None) -> KLSides | None:
    """Whether the penalty is a sum of KL over ordered pairs, and with which sides alive; None for other
    divergences.

    Over all ordered pairs kl, reverse_kl and symmetric_kl are one number. Without a stopped side they are one
    function; with one, they differ in which argument of KL still carries gradient.
    """
    if divergence not in (kl, reverse_kl, symmetric_kl):
        return None
    if stop_gradient is None:
        return KLSides(1.0, 1.0)
    if divergence is symmetric_kl:
        return KLSides(0.5, 0.5)
    first_lives = (stop_gradient == "second") == (divergence is kl)
    return KLSides(1.0, 0.0) if first_lives else KLSides(0.0, 1.0)


def invariance_penalty(log_p: Tensor, divergence: Divergence, stop_gradient: StopGradient | None = None) -> Tensor:
    """Mean divergence over the ordered pairs of distinct interventions.

    Args:
        log_p: [I, N, M] log-probabilities (I: interventions, N: anchors, M: candidates), float32 or wider.
        divergence: D(log p, log q), [..., M] -> [...].
        stop_gradient: which argument of D is held fixed; None for neither.

    Returns:
        [N], zero where there is one intervention only.
    """
    num = log_p.shape[0]
    if num == 1:
        return torch.zeros_like(log_p[0, :, 0])
    sides = kl_sides(divergence, stop_gradient)
    if sides is not None:
        return kl_over_ordered_pairs(log_p, sides) / (num * (num - 1))
    twice = stop_gradient is None and divergence in SYMMETRIC
    total = torch.zeros_like(log_p[0, :, 0])
    for a in range(num):
        for b in range(a) if twice else range(num):
            if a != b:
                p = log_p[a].detach() if stop_gradient == "first" else log_p[a]
                q = log_p[b].detach() if stop_gradient == "second" else log_p[b]
                total = total + divergence(p, q)
    return total * (2.0 if twice else 1.0) / (num * (num - 1))


def kl_over_ordered_pairs(log_p: Tensor, sides: KLSides) -> Tensor:
    """Sum over ordered pairs (a, b) of KL(p_a || p_b), [N], without visiting the pairs.

    sum_b KL(p_a || p_b) = sum_j p_a(j) [I log p_a(j) - sum_b log p_b(j)]; the pair (a, a) adds nothing to the
    value nor, with either side stopped, to the gradient.
    """

    def summed(weights: Tensor, own: Tensor, others: Tensor) -> Tensor:
        return (weights * (log_p.shape[0] * own - others.sum(0))).sum(-1).sum(0).clamp_min(0)

    if sides == KLSides(1.0, 1.0):
        return summed(log_p.exp(), log_p, log_p)
    fixed = log_p.detach()
    total = torch.zeros_like(log_p[0, :, 0])
    if sides.first:
        total = total + sides.first * summed(log_p.exp(), log_p, fixed)
    if sides.second:
        total = total + sides.second * summed(fixed.exp(), fixed, log_p)
    return total
