"""A tile of anchors: from logits to the terms of (R2) and, in place, to the gradient with respect to the logits.

Notation: I interventions, p_a the distribution under intervention a, w_a(j) = log p_a(j) - mean_b log p_b(j), and
k_a = sum_j p_a(j) w_a(j), so that sum_b KL(p_a || p_b) = I k_a. The penalty of an anchor is sum_a k_a / (I - 1). Its
gradient with respect to the logits of intervention a is

    [ p_a (w_a - k_a)  +  p_a - mean_b p_b ] / (I - 1),

the first part through the first arguments of KL, the second through the second arguments; the InfoNCE term adds
(p_a - onehot) / I.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.losses.divergences import Divergence
from relic_rl.losses.invariance import KLSides, StopGradient, kl_sides
from relic_rl.losses.terms import Terms, anchor_terms, beats_all_others


class Weights(NamedTuple):
    """Coefficients of the terms, summed over anchors, in the scalar whose gradient is wanted."""

    contrastive: float
    invariance: float


Tile = Callable[[Tensor, Tensor, Weights | None], Terms]
"""(logits [I, T, M], positive int64 [T], weights or None) -> terms [T]. With weights the logits become the gradient."""


def make_tile(divergence: Divergence, stop_gradient: StopGradient | None, largest: Tensor) -> Tile:
    """The evaluation of tiles no larger than `largest`, [I, T, M]: in closed form where the penalty is a sum of KL."""
    sides = kl_sides(divergence, stop_gradient)
    if sides is not None:
        return KLTile(sides, largest)

    def autograd_tile(logits: Tensor, positive: Tensor, weights: Weights | None) -> Terms:
        with_penalty = weights is not None and weights.invariance != 0
        with torch.set_grad_enabled(weights is not None):
            leaf = logits.detach().requires_grad_(weights is not None)
            terms = anchor_terms(
                leaf.log_softmax(-1), positive, divergence, stop_gradient, with_penalty=with_penalty
            )
            if weights is not None:
                scalar = weights.contrastive * terms.contrastive.sum()
                if with_penalty:
                    scalar = scalar + weights.invariance * terms.invariance.sum()
                (slope,) = torch.autograd.grad(scalar, leaf)
                logits.copy_(slope)
        return Terms(*(term.detach() for term in terms))

    return autograd_tile


class KLTile:
    """InfoNCE and KL in closed form, in buffers that are allocated once: fresh memory costs more than the arithmetic."""

    def __init__(self, sides: KLSides, largest: Tensor) -> None:
        self._sides = sides
        self._log_p = torch.empty_like(largest, memory_format=torch.contiguous_format)
        self._mean = torch.empty_like(self._log_p[0])

    def __call__(self, logits: Tensor, positive: Tensor, weights: Weights | None) -> Terms:
        """See `Tile`."""
        num, rows, _ = logits.shape
        log_p, mean = self._log_p[:, :rows], self._mean[:rows]
        for a in range(num):
            torch.log_softmax(logits[a], -1, out=log_p[a])
        p = torch.exp(log_p, out=logits)

        index = positive.expand(num, rows)[..., None]
        contrastive = -log_p.gather(-1, index).mean((0, 2))
        accuracy = beats_all_others(log_p, positive).mean(0)
        p_w = log_p.sub_(_mean_over_first(log_p, mean)).mul_(p)
        k = p_w.sum(-1, keepdim=True)
        pairs = max(1, num - 1)
        invariance = k.sum((0, 2)).clamp_min(0) / pairs

        if weights is not None:
            of_contrastive = weights.contrastive / num
            through_first = self._sides.first * weights.invariance / pairs
            through_second = self._sides.second * weights.invariance / pairs
            _mean_over_first(p, mean)
            p.mul_(of_contrastive + through_second - through_first * k)
            if weights.invariance != 0:
                p.add_(p_w, alpha=through_first)
                p.sub_(mean, alpha=through_second)
            p.scatter_add_(-1, index, torch.full_like(index, -of_contrastive, dtype=p.dtype))
        return Terms(contrastive, invariance, accuracy)


def _mean_over_first(stack: Tensor, out: Tensor) -> Tensor:
    """Mean of [I, T, M] over I into [T, M]; a few times faster than torch.mean over a leading dimension."""
    out.copy_(stack[0])
    for one in stack[1:]:
        out.add_(one)
    return out.mul_(1.0 / len(stack))
