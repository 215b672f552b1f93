"""The loss a block of anchors at a time: no [N, M] matrix is ever alive, and the gradient is formed on the
way.

Per block the logits of all interventions are one buffer [I, block, M]. Tiles of it small enough for a
processor's cache are turned from logits into the gradient with respect to those logits, in place; matrix
products then carry the block's gradient to the online rows and to the targets. A value with its gradient so
costs each logit once.

Departures: none from the dense form in value and gradient; second derivatives are not offered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from relic_rl.losses.candidates import EXCLUDED_LOGIT, Candidates
from relic_rl.losses.divergences import Divergence
from relic_rl.losses.invariance import StopGradient
from relic_rl.losses.products import multiply
from relic_rl.losses.terms import Terms
from relic_rl.losses.tiles import TileEvaluator, Weights


@dataclass(frozen=True)
class Plan:
    """All that is not a tensor receiving gradient: which distributions, which penalty, how large a block."""

    pairs: Sequence[tuple[int, int]]
    candidates: Candidates
    divergence: Divergence
    stop_gradient: StopGradient | None
    alpha: float
    block_size: int
    product_dtype: torch.dtype | None


class Gradients(NamedTuple):
    """One tensor per view, None where no gradient is wanted."""

    online: list[Tensor | None]
    target: list[Tensor | None]


def blockwise_relic(online: Sequence[Tensor], target: Sequence[Tensor], plan: Plan) -> tuple[Tensor, ...]:
    """Total, contrastive, invariance and accuracy, as 0-d tensors.

    Args:
        online: V tensors [N, D], normalised and divided by the temperature.
        target: W tensors [M, D], normalised.
        plan: the rest.
    """
    tensors = [*online, *target]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        outputs: tuple[Tensor, ...] = _BlockwiseRelic.apply(plan, len(online), *tensors)  # type: ignore[no-untyped-call]
        return outputs
    terms, _ = evaluate(online, target, plan, None, [False] * len(tensors))
    return _total(terms, plan.alpha), *terms


class _BlockwiseRelic(torch.autograd.Function):
    """Forms the gradient of the total in the forward pass; backward only scales it.

    A caller who differentiates `contrastive` or `invariance` by itself pays for a second pass over the
    blocks.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, num_views: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        online, target = tensors[:num_views], tensors[num_views:]
        terms, gradients = evaluate(online, target, plan, Weights(1.0, plan.alpha), ctx.needs_input_grad[2:])
        ctx.plan, ctx.num_views = plan, num_views
        ctx.save_for_backward(*tensors, *gradients.online, *gradients.target)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(terms.accuracy, *([terms.invariance] if plan.alpha == 0 else []))
        return _total(terms, plan.alpha), *terms

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        of_total, of_contrastive, of_invariance, _ = slopes
        num = len(ctx.saved_tensors) // 2
        tensors, gradients = ctx.saved_tensors[:num], ctx.saved_tensors[num:]
        if all(slope is None for slope in slopes[:3]):
            return (None,) * (2 + num)
        if of_contrastive is None and of_invariance is None:
            return None, None, *(None if gradient is None else gradient * of_total for gradient in gradients)
        total, contrastive, invariance = (0.0 if slope is None else slope.item() for slope in slopes[:3])
        weights = Weights(total + contrastive, ctx.plan.alpha * total + invariance)
        online, target = tensors[: ctx.num_views], tensors[ctx.num_views :]
        _, again = evaluate(online, target, ctx.plan, weights, ctx.needs_input_grad[2:])
        return None, None, *again.online, *again.target


def _total(terms: Terms, alpha: float) -> Tensor:
    """(R2); without the penalty where alpha is 0, so that an infinite penalty cannot become 0 * inf."""
    return terms.contrastive + alpha * terms.invariance if alpha != 0 else terms.contrastive.clone()


@torch.no_grad()
def evaluate(
    online: Sequence[Tensor],
    target: Sequence[Tensor],
    plan: Plan,
    weights: Weights | None,
    wanted: Sequence[bool],
) -> tuple[Terms, Gradients]:
    """Means of the terms over the anchors, and the gradient of their weighted sum.

    Args:
        online: V tensors [N, D].
        target: W tensors [M, D].
        plan: which distributions and which penalty.
        weights: of the terms; None where no gradient is wanted.
        wanted: for each tensor, online then target, whether its gradient is.
    """
    num_rows, num_columns = len(online[0]), len(target[0])
    zeros = [torch.zeros_like(x) if want else None for x, want in zip([*online, *target], wanted, strict=True)]
    gradients = Gradients(zeros[: len(online)], zeros[len(online) :])
    per_anchor = Terms(*online[0].new_empty(len(Terms._fields), num_rows))
    per_row = None if weights is None else Weights(*(weight / num_rows for weight in weights))

    buffer = online[0].new_empty(len(plan.pairs), min(plan.block_size, num_rows), num_columns)
    tile_rows = _tile_rows(buffer)
    tile = TileEvaluator(plan.divergence, plan.stop_gradient, buffer[:, :tile_rows])
    for block in _slices(0, num_rows, plan.block_size):
        logits = buffer[:, : block.stop - block.start]
        for pair_logits, (left, right) in zip(logits, plan.pairs, strict=True):
            multiply(online[left][block], target[right].T, plan.product_dtype, out=pair_logits)
        for rows in _slices(block.start, block.stop, tile_rows):
            tile_logits = logits[:, rows.start - block.start : rows.stop - block.start]
            positive = plan.candidates.positive(rows, logits.device)
            excluded = plan.candidates.excluded(rows, positive)
            if excluded is not None:
                tile_logits.masked_fill_(excluded, EXCLUDED_LOGIT)
            for column, term in zip(per_anchor, tile(tile_logits, positive, per_row), strict=True):
                column[rows] = term
        if weights is None:
            continue
        # By now the buffer holds the gradient with respect to the logits.
        for slope, (left, right) in zip(logits, plan.pairs, strict=True):
            grad_u, grad_v = gradients.online[left], gradients.target[right]
            if grad_u is not None:
                multiply(slope, target[right], plan.product_dtype, out=grad_u[block], accumulate=True)
            if grad_v is not None:
                multiply(slope.T, online[left][block], plan.product_dtype, out=grad_v, accumulate=True)
    return Terms(*(column.mean() for column in per_anchor)), gradients


def _slices(start: int, stop: int, size: int) -> list[slice]:
    """Consecutive slices of at most `size` rows from start to stop."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def _tile_rows(buffer: Tensor) -> int:
    """Rows of a tile: what fits in the caches of a CPU; on a GPU the whole block, for fewer kernels."""
    num_pairs, block_rows, num_columns = buffer.shape
    if buffer.device.type != "cpu":
        return block_rows
    elements_per_core = 2**18  # 1 MB in float32: about half of a second-level cache
    rows_per_core = max(1, elements_per_core // (num_pairs * num_columns))
    return min(block_rows, torch.get_num_threads() * rows_per_core)
