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
from relic_rl.losses.terms import Terms, anchor_terms, best_other


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
        self._p = torch.empty_like(largest, memory_format=torch.contiguous_format)
        self._summed = torch.empty_like(self._p[0])

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
        p, summed = self._p[:, :rows], self._summed[:rows]
        index = positive.expand(num, rows)[..., None]
        at_positive, other = logits.gather(-1, index), best_other(logits, index)
        accuracy = (at_positive > other).to(logits.dtype).mean((0, 2))

        log_p = logits.sub_(torch.maximum(at_positive, other))
        normalizer = torch.exp(log_p, out=p).sum(-1, keepdim=True)
        p.div_(normalizer)
        log_p.sub_(normalizer.log_())
        contrastive = -log_p.gather(-1, index).mean((0, 2))
        of_contrastive = 0.0 if weights is None else weights.contrastive / num
        if self._sides is None:
            invariance = invariance_penalty(log_p, self._divergence)
            if weights is not None:
                torch.mul(p, of_contrastive, out=logits)
        else:
            pairs = max(1, num - 1)
            p_w = log_p.sub_(_sum_over_first(log_p, summed), alpha=1 / num).mul_(p)
            k = p_w.sum(-1, keepdim=True)
            invariance = k.sum((0, 2)).clamp_min(0) / pairs
            if weights is not None:
                through_first = self._sides.first * weights.invariance / pairs
                through_second = self._sides.second * weights.invariance / pairs
                _sum_over_first(p, summed)
                p.mul_(of_contrastive + through_second - through_first * k).add_(p_w, alpha=through_first)
                torch.sub(p, summed, alpha=through_second / num, out=logits)
        if weights is not None:
            logits.scatter_add_(-1, index, torch.full_like(at_positive, -of_contrastive))
        return Terms(contrastive, invariance, accuracy)

    def _by_autograd(self, logits: Tensor, positive: Tensor, weights: Weights) -> Terms:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            log_p = leaf.log_softmax(-1)
            terms = anchor_terms(log_p, positive, self._divergence, self._stop_gradient, with_penalty=True)
            scalar = weights.contrastive * terms.contrastive.sum() + weights.invariance * terms.invariance.sum()
            (slope,) = torch.autograd.grad(scalar, leaf)
        logits.copy_(slope)
        return Terms(*(term.detach() for term in terms))


def _sum_over_first(stack: Tensor, out: Tensor) -> Tensor:
    """Sum of [I, T, M] over I into [T, M]; a few times faster than torch.sum over a leading dimension."""
    if len(stack) == 1:
        return out.copy_(stack[0])
    torch.add(stack[0], stack[1], out=out)
    for one in stack[2:]:
        out.add_(one)
    return out
