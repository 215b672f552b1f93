"""RELIC: contrast each anchor with candidates, and penalise what the style intervention changes about the
answer.

Sources: Mitrovic et al., ICLR 2021 (arXiv 2010.07922), equations R1 and R2 below; Tomasev et al., 2022
(arXiv 2201.05119) for large and small views, the stop-gradient and the subsampled contrast sets of ReLICv2.

    (R1)  p_lk(j | x_i) = exp(phi(f(x_i^{a_l}), h(x_j^{a_k})) / tau) / sum_m exp(phi(f(x_i^{a_l}),
    h(x_m^{a_k})) / tau) (R2)  L = - sum_i sum_{a_lk} log p_lk(i | x_i)  +  alpha * sum_i sum_{a_lk, a_qt}
    KL(p_lk(. | x_i) || p_qt(. | x_i))

Departures:
- Each term is a mean over anchors and over its interventions (the penalty: over ordered pairs of distinct
  interventions) instead of a sum. For two views that is L / (2N), and alpha keeps its meaning. With all V > 2
  views on both sides the penalty is rescaled against R2 by 1 / (V(V-1) - 1).
- Any divergence may stand in for KL.
- Groups of anchors may be left out of each other's contrast sets.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.losses.blockwise import Plan, blockwise_relic
from relic_rl.losses.candidates import EXCLUDED_LOGIT, Candidates
from relic_rl.losses.divergences import Divergence, divergence_by_name
from relic_rl.losses.invariance import StopGradient
from relic_rl.losses.products import NarrowProduct, working_dtype
from relic_rl.losses.sinkhorn import ground_cost, sinkhorn_divergence
from relic_rl.losses.terms import Terms, anchor_terms


class RelicOutput(NamedTuple):
    """The loss and its terms, 0-d tensors in float32 or the inputs' wider type.

    Attributes:
        total: contrastive + alpha * invariance; the contrastive term itself where alpha is 0.
        contrastive: InfoNCE, mean of -log p_lk(i | x_i) over anchors and interventions, in nats.
        invariance: mean divergence over anchors and ordered pairs of interventions; detached where alpha is
            0.
        accuracy: share of anchors and interventions whose positive scores above every other candidate;
            detached.
    """

    total: Tensor
    contrastive: Tensor
    invariance: Tensor
    accuracy: Tensor


def relic_loss(
    online: Sequence[Tensor],
    target: Sequence[Tensor],
    *,
    temperature: float | Tensor = 0.1,
    alpha: float = 1.0,
    divergence: str = "kl",
    normalize: bool = True,
    block_size: int | None = None,
    product_dtype: torch.dtype | None = None,
    positive_offset: int = 0,
    anchor_group: Tensor | None = None,
    target_group: Tensor | None = None,
    negatives: Tensor | None = None,
    penalty_stop_gradient: StopGradient | None = None,
) -> RelicOutput:
    """RELIC's loss over V views (R2, in the normalisation of the module's docstring).

    Interventions are the pairs (l, k), k < W, l != k: logits online[l] @ target[k].T / temperature, where
    the positive of row i is column positive_offset + i. Nothing is detached here: the caller detaches the
    outputs of an averaged (EMA) target; with h = f gradient reaches both sides.

    ReLICv2's arrangement: pass the large views first; all V views through the online network, the W large
    ones through the target network. For a contrast set larger than the batch pass M > N target rows; for a
    smaller one pass `negatives`. Across processes: each passes its own N anchors, the targets gathered from
    all (with gradient where h = f) and `positive_offset = rank * N`; every process has N anchors, so the mean
    over processes is the full-batch loss, and gradients averaged over processes are those of the full batch
    when the gather's backward sums over processes.

    Args:
        online: V tensors [N, D], online[l] = g(f(x^{a_l})) (V >= 2: views, N: anchors, D: features),
            floating.
        target: W <= V tensors [M, D], target[k] = g(h(x^{a_k})) (M >= N: candidates).
        temperature: tau > 0: a float, or a 0-d tensor, which receives gradient.
        alpha: weight of the invariance penalty, >= 0. With 0 the loss is InfoNCE and the penalty has no
            graph.
        divergence: kl, reverse_kl, symmetric_kl, js, total_variation, hellinger, chi2 (log(1 + chi2)),
            renyi(order), as in "renyi(0.5)", or sinkhorn (dense form only).
        normalize: whether rows are divided by their L2 norm.
        block_size: anchor rows at a time. The same value and gradients in O(N D + V W block_size M) memory,
            faster on large batches; None evaluates the dense form.
        product_dtype: type of the operands of the matrix products, torch.bfloat16 for speed; results and
            softmax stay in float32 or the inputs' wider type. None: that type for the products too.
        positive_offset: column of the first anchor's positive.
        anchor_group: int64 [N]; candidates of the anchor's own group are left out, its positive excepted.
        target_group: int64 [M], given with anchor_group.
        negatives: int64 [N, K] columns that, with the positive, are each anchor's contrast set in all
            interventions (see `sample_negatives`); columns of the anchor's own group are still left out.
            None: all columns.
        penalty_stop_gradient: "first" or "second" holds that argument of the divergence fixed; None lets
            gradient through both.

    Returns:
        RelicOutput.

    Raises:
        ValueError: views, shapes, options or groups that do not fit together.
    """
    _check(online, target)
    _check_options(temperature, alpha, block_size, penalty_stop_gradient)
    pairs = [(left, right) for left in range(len(online)) for right in range(len(target)) if left != right]
    if alpha != 0 and len(pairs) == 1:
        raise ValueError(
            "the invariance penalty needs two interventions; one target of two views gives one: set alpha=0"
        )
    candidates = Candidates(len(online[0]), len(target[0]), positive_offset, anchor_group, target_group, negatives)
    with torch.autocast(online[0].device.type, enabled=False):
        dtype = working_dtype(*online, *target)
        u = [_rows(view, dtype, normalize) / temperature for view in online]
        v = [_rows(view, dtype, normalize) for view in target]
        if divergence == "sinkhorn":
            if block_size is not None:
                raise ValueError("divergence sinkhorn has no blockwise form: set block_size=None")
            distance: Divergence = sinkhorn_divergence(ground_cost(v))
        else:
            distance = divergence_by_name(divergence)
        plan = Plan(pairs, candidates, distance, penalty_stop_gradient, alpha, block_size or len(u[0]), product_dtype)
        return RelicOutput(*(_dense_relic(u, v, plan) if block_size is None else blockwise_relic(u, v, plan)))


def info_nce_loss(
    online: Sequence[Tensor],
    target: Sequence[Tensor],
    *,
    temperature: float | Tensor = 0.1,
    normalize: bool = True,
    block_size: int | None = None,
    product_dtype: torch.dtype | None = None,
    positive_offset: int = 0,
    anchor_group: Tensor | None = None,
    target_group: Tensor | None = None,
    negatives: Tensor | None = None,
) -> RelicOutput:
    """InfoNCE: `relic_loss` with alpha = 0, which says what the arguments are.

    Source: van den Oord et al., 2018 (arXiv 1807.03748), equation 4.
    """
    return relic_loss(
        online,
        target,
        temperature=temperature,
        alpha=0.0,
        normalize=normalize,
        block_size=block_size,
        product_dtype=product_dtype,
        positive_offset=positive_offset,
        anchor_group=anchor_group,
        target_group=target_group,
        negatives=negatives,
    )


def _dense_relic(online: Sequence[Tensor], target: Sequence[Tensor], plan: Plan) -> tuple[Tensor, ...]:
    """Total, contrastive, invariance and accuracy from all logits at once, [I, N, M], by autograd."""
    all_rows = slice(None)
    positive = plan.candidates.positive(all_rows, online[0].device)
    excluded = plan.candidates.excluded(all_rows, positive)
    logits = torch.stack([_product(online[left], target[right], plan.product_dtype) for left, right in plan.pairs])
    if excluded is not None:
        logits = logits.masked_fill(excluded, EXCLUDED_LOGIT)
    log_p = logits.log_softmax(-1)
    with_penalty = plan.alpha != 0
    per_anchor = anchor_terms(log_p, positive, plan.divergence, plan.stop_gradient, with_penalty=with_penalty)
    terms = Terms(*(term.mean() for term in per_anchor))
    # Without the penalty, never 0 times it: it may be large, and its graph is not wanted.
    total = terms.contrastive + plan.alpha * terms.invariance if with_penalty else terms.contrastive
    return total, *terms


def _product(u: Tensor, v: Tensor, product_dtype: torch.dtype | None) -> Tensor:
    """Logits u @ v.T, [N, M]."""
    if product_dtype is None or product_dtype == u.dtype:
        return u @ v.T
    logits: Tensor = NarrowProduct.apply(u, v, product_dtype)  # type: ignore[no-untyped-call]
    return logits


def _rows(view: Tensor, dtype: torch.dtype, normalize: bool) -> Tensor:
    """[N, D] in the working type, rows of unit length where wanted; a row of zeros stays zero."""
    return functional.normalize(view.to(dtype), dim=1) if normalize else view.to(dtype)


def _check(online: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    """Refuse views that do not fit together."""
    if len(online) < 2 or not 1 <= len(target) <= len(online):
        raise ValueError(f"relic_loss needs V >= 2 online and 1 to V target views, got {len(online)} and {len(target)}")
    for name, views in (("online", online), ("target", target)):
        if views[0].ndim != 2 or any(view.shape != views[0].shape for view in views):
            raise ValueError(f"{name} views need one shape [rows, D], got {[list(view.shape) for view in views]}")
    if online[0].shape[1] != target[0].shape[1]:
        raise ValueError(f"online and target differ in features: {online[0].shape[1]} and {target[0].shape[1]} columns")


def _check_options(
    temperature: float | Tensor, alpha: float, block_size: int | None, penalty_stop_gradient: str | None
) -> None:
    """Refuse options outside their range."""
    if isinstance(temperature, Tensor):
        if temperature.ndim != 0:
            raise ValueError(f"temperature needs a float or a 0-d tensor, got shape {list(temperature.shape)}")
    elif not 0 < temperature < math.inf:
        raise ValueError(f"temperature needs a finite number above 0, got {temperature}")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha needs a finite number of at least 0, got {alpha}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size needs at least 1 row, or None for the dense form, got {block_size}")
    if penalty_stop_gradient not in (None, "first", "second"):
        raise ValueError(f"penalty_stop_gradient is None, 'first' or 'second', got {penalty_stop_gradient!r}")
