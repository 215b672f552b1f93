"""Divergences between categorical distributions, from their log-probabilities.

Each function takes log p and log q, [..., M] (M: outcomes), float32 or wider, and returns the divergence,
[...]. Each is zero for equal distributions and never negative, and value and gradient stay finite for
log-probabilities down to -1e30, which stands for an impossible outcome. Nothing divides by a probability:
ratios are differences of logarithms.

Sources: Lin, 1991 (Jensen-Shannon); van Erven and Harremoes, 2014, arXiv 1206.2459 (Renyi, and what it
coincides with).

Departures: `hellinger` is the SQUARED Hellinger distance; `chi2` is log(1 + chi-squared), since chi-squared
itself overflows where q is small.
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

Divergence = Callable[[Tensor, Tensor], Tensor]


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = sum_j p_j (log p_j - log q_j); the mean number of nats lost by coding p with q."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0)


def reverse_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q || p)."""
    return kl(log_q, log_p)


def symmetric_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """[KL(p || q) + KL(q || p)] / 2 = sum_j (p_j - q_j)(log p_j - log q_j) / 2."""
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


def js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon: [KL(p || m) + KL(q || m)] / 2 with m = (p + q) / 2; at most log 2.

    log(p / m) = log 2 + log sigmoid(log p - log q), which needs no logarithm of a sum of probabilities.
    """
    difference = log_p - log_q
    from_p = log_p.exp() * (math.log(2) + functional.logsigmoid(difference))
    from_q = log_q.exp() * (math.log(2) + functional.logsigmoid(-difference))
    return 0.5 * (from_p + from_q).sum(-1).clamp_min(0)


def total_variation(log_p: Tensor, log_q: Tensor) -> Tensor:
    """sum_j |p_j - q_j| / 2, in [0, 1]: optimal transport where every move costs 1."""
    return 0.5 * (log_p.exp() - log_q.exp()).abs().sum(-1)


def hellinger(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Squared Hellinger distance: sum_j (sqrt p_j - sqrt q_j)^2 / 2 = 1 - sum_j sqrt(p_j q_j), in [0, 1]."""
    return 0.5 * ((0.5 * log_p).exp() - (0.5 * log_q).exp()).square().sum(-1)


def chi2(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log(1 + chi^2) = log sum_j p_j^2 / q_j, which is the Renyi divergence of order 2."""
    return renyi(log_p, log_q, order=2.0)


def renyi(log_p: Tensor, log_q: Tensor, *, order: float) -> Tensor:
    """Renyi: log[ sum_j p_j^order q_j^(1 - order) ] / (order - 1); order > 0 and not 1 (there it is KL).

    log sum_j p_j is zero but for rounding; subtracting it makes the divergence of equal distributions exactly
    zero.
    """
    log_sum = (log_p + (order - 1.0) * (log_p - log_q)).logsumexp(-1) - log_p.logsumexp(-1)
    return (log_sum / (order - 1.0)).clamp_min(0)


DIVERGENCES: dict[str, Divergence] = {
    "kl": kl,
    "reverse_kl": reverse_kl,
    "symmetric_kl": symmetric_kl,
    "js": js,
    "total_variation": total_variation,
    "hellinger": hellinger,
    "chi2": chi2,
}
"""By name. `divergence_by_name` adds "renyi(order)"; `sinkhorn`, which needs a cost, has its own module."""

SYMMETRIC = frozenset({symmetric_kl, js, total_variation, hellinger})
"""Those for which D(p, q) = D(q, p)."""


def divergence_by_name(name: str) -> Divergence:
    """The divergence of this name: a key of DIVERGENCES, or "renyi(order)" with order > 0, not 1.

    Raises:
        ValueError: no such divergence, or an order outside its range.
    """
    if name in DIVERGENCES:
        return DIVERGENCES[name]
    if name.startswith("renyi(") and name.endswith(")"):
        try:
            order = float(name[len("renyi(") : -1])
        except ValueError:
            order = math.nan
        if not (order > 0 and order != 1 and math.isfinite(order)):
            raise ValueError(f"{name}: the order must be a number above 0 and not 1 (order 1 is kl), as in renyi(0.5)")
        return partial(renyi, order=order)
    raise ValueError(f"unknown divergence {name!r}: choose {', '.join(DIVERGENCES)}, renyi(order) or sinkhorn")
