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
    at_positive = log_p.gather(-1, positive.expand(log_p.shape[:2])[..., None]).squeeze(-1)
    if with_penalty:
        invariance = invariance_penalty(log_p, divergence, stop_gradient)
    else:
        with torch.no_grad():
            invariance = invariance_penalty(log_p.detach(), divergence)
    return Terms(-at_positive.mean(0), invariance, beats_all_others(log_p.detach().clone(), positive).mean(0))


def beats_all_others(log_p: Tensor, positive: Tensor) -> Tensor:
    """Whether the positive scores above every other candidate, 0 or 1, [I, N]; ties lose, so a collapsed
    encoder scores 0.

    Works in `log_p` and leaves it as it was.
    """
    index = positive.expand(log_p.shape[:2])[..., None]
    at_positive = log_p.gather(-1, index)
    best_other = log_p.scatter_(-1, index, -torch.inf).amax(-1, keepdim=True)
    log_p.scatter_(-1, index, at_positive)
    return (at_positive > best_other).squeeze(-1).to(log_p.dtype)
