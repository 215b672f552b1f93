"""A tile of anchors: from logits to the terms of (R2) and, in place, to the gradient with respect to the
logits.

Notation: I interventions, p_a the distribution under intervention a, w_a(j) = log p_a(j) - mean_b log p_b(j),
and k_a = sum_j p_a(j) w_a(j), so that sum_b KL(p_a || p_b) = I k_a. The KL penalty of an anchor is sum_a k_a
/ (I - 1). Its gradient with respect to the logits of intervention a is

    [ p_a (w_a - k_a)  +  p_a - mean_b p_b ] / (I - 1),

the first part through the first arguments of KL, the second through the second arguments; the InfoNCE term
adds (p_a - onehot) / I. Other divergences are left to autograd, on the tile alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.losses.divergences import Divergence
from relic_rl.losses.invariance import StopGradient, invariance_penalty, kl_sides
from relic_rl.losses.terms import Terms, anchor_terms, beats_all_others


class Weights(NamedTuple):
    """Coefficients of the terms, summed over anchors, in the scalar whose gradient is wanted."""

    contrastive: float
    invariance: float


class TileEvaluator:
    """Evaluates tiles in buffers allocated once: on a CPU fresh memory costs more than the arithmetic."""

    def __init__(self, divergence: Divergence, stop_gradient: StopGradient | None, largest: Tensor) -> None:
        """Choose the divergence and its stopped side, for tiles no larger than `largest`, [I, T, M]."""
        self._divergence = divergence
        self._stop_gradient = stop_gradient
        self._sides = kl_sides(divergence, stop_gradient)
        self._log_p = torch.empty_like(largest, memory_format=torch.contiguous_format)
        self._mean = torch.empty_like(self._log_p[0])

    def __call__(self, logits: Tensor, positive: Tensor, weights: Weights | None) -> Terms:
        """Terms of T anchors, each [T]; the logits are overwritten, by their gradient if weights are given.

        Args:
            logits: [I, T, M], excluded candidates marked.
            positive: int64 [T] column of each anchor's positive.
            weights: None where no gradient is wanted.
        """
        if self._sides is None and weights is not None and weights.invariance != 0:
            return self._by_autograd(logits, positive, weights)
        num, rows, _ = logits.shape
        log_p, mean = self._log_p[:, :rows], self._mean[:rows]
        for a in range(num):
            torch.log_softmax(logits[a], -1, out=log_p[a])
        p = torch.exp(log_p, out=logits)

        index = positive.expand(num, rows)[..., None]
        contrastive = -log_p.gather(-1, index).mean((0, 2))
        accuracy = beats_all_others(log_p, positive).mean(0)
        if self._sides is None:
            invariance = invariance_penalty(log_p, self._divergence)
            if weights is not None:
                p.mul_(weights.contrastive / num)
        else:
            pairs = max(1, num - 1)
            p_w = log_p.sub_(_mean_over_first(log_p, mean)).mul_(p)
            k = p_w.sum(-1, keepdim=True)
            invariance = k.sum((0, 2)).clamp_min(0) / pairs
            if weights is not None:
                through_first = self._sides.first * weights.invariance / pairs
                through_second = self._sides.second * weights.invariance / pairs
                _mean_over_first(p, mean)
                p.mul_(weights.contrastive / num + through_second - through_first * k)
                if weights.invariance != 0:
                    p.add_(p_w, alpha=through_first)
                    p.sub_(mean, alpha=through_second)
        if weights is not None:
            p.scatter_add_(-1, index, torch.full_like(index, -weights.contrastive / num, dtype=p.dtype))
        return Terms(contrastive, invariance, accuracy)

    def _by_autograd(self, logits: Tensor, positive: Tensor, weights: Weights) -> Terms:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            log_p = leaf.log_softmax(-1)
            terms = anchor_terms(log_p, positive, self._divergence, self._stop_gradient, with_penalty=True)
            scalar = (
                weights.contrastive * terms.contrastive.sum() + weights.invariance * terms.invariance.sum()
            )
            (slope,) = torch.autograd.grad(scalar, leaf)
        logits.copy_(slope)
        return Terms(*(term.detach() for term in terms))


def _mean_over_first(stack: Tensor, out: Tensor) -> Tensor:
    """Mean of [I, T, M] over I into [T, M]; a few times faster than torch.mean over a leading dimension."""
    out.copy_(stack[0])
    for one in stack[1:]:
        out.add_(one)
    return out.mul_(1.0 / len(stack))
