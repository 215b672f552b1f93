"""The terms of (R2) per anchor, from the log-probabilities of all interventions."""

from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.losses.divergences import Divergence
from relic_rl.losses.invariance import StopGradient, invariance_penalty


class Terms(NamedTuple):
    """Values per anchor, each [N]: means over interventions, the penalty over ordered pairs of them."""

    contrastive: Tensor
    invariance: Tensor
    accuracy: Tensor


def anchor_terms(
    log_p: Tensor,
    positive: Tensor,
    divergence: Divergence,
    stop_gradient: StopGradient | None,
    *,
    with_penalty: bool,
) -> Terms:
    """Evaluate the terms, with gradient.

    Args:
        log_p: [I, N, M] log-probabilities (I: interventions, N: anchors, M: candidates).
        positive: int64 [N] column of each anchor's positive.
        divergence: of the penalty.
        stop_gradient: which argument of the divergence is held fixed.
        with_penalty: False leaves the penalty out of the graph: it is then a detached diagnostic.
    """
    index = positive.expand(log_p.shape[:2])[..., None]
    at_positive = log_p.gather(-1, index)
    if with_penalty:
        invariance = invariance_penalty(log_p, divergence, stop_gradient)
    else:
        with torch.no_grad():
            invariance = invariance_penalty(log_p.detach(), divergence)
    accuracy = (at_positive.detach() > best_other(log_p.detach().clone(), index)).to(log_p.dtype)
    return Terms(-at_positive.mean((0, 2)), invariance, accuracy.mean((0, 2)))


def best_other(scores: Tensor, index: Tensor) -> Tensor:
    """The best score beside the positive's, [I, N, 1]; works in `scores` and leaves them as they were.

    A positive counts as right where it is above that. Ties are wrong, so a collapsed encoder has accuracy 0.

    Args:
        scores: [I, N, M].
        index: int64 [I, N, 1] column of each positive.
    """
    at_positive = scores.gather(-1, index)
    best = scores.scatter_(-1, index, -torch.inf).amax(-1, keepdim=True)
    scores.scatter_(-1, index, at_positive)
    return best
