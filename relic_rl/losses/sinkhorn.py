"""The Sinkhorn divergence: optimal transport between distributions over the same M candidates.

Total variation asks how much probability must move; this asks how far it must move, where far is how
different the candidates themselves look. Confusing an anchor's candidates with their near copies is then a
small change.

Sources: Cuturi, 2013 (arXiv 1306.0895); Feydy et al., AISTATS 2019 (arXiv 1810.08278), equation 3 and the
symmetric updates of section 3.

Departures: the cost is 1 - cosine between candidates, held fixed; gradient reaches the probabilities only,
and through the converged potentials (the envelope theorem), not through the iterations.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def ground_cost(target: Sequence[Tensor]) -> Tensor:
    """1 - cosine between candidates, each the mean of its unit-length outputs over the views; [M, M] in [0,
    2], detached.

    Args:
        target: W tensors [M, D].
    """
    views = torch.stack([functional.normalize(view.detach(), dim=1) for view in target])
    mean = functional.normalize(views.mean(0), dim=1)
    return (1.0 - mean @ mean.T).clamp_min(0)


def sinkhorn_divergence(
    cost: Tensor, *, regularization: float = 0.5, num_iterations: int = 100
) -> Callable[[Tensor, Tensor], Tensor]:
    """The divergence S(p, q) = OT(p, q) - OT(p, p) / 2 - OT(q, q) / 2, of log-probabilities [N, M] -> [N].

    OT is entropic transport of strength `regularization`. The cost is bounded, so its kernel exp(-cost /
    regularization) and the scalings stay within float32 without log-domain updates: an update is one matrix
    product, [N, M] by [M, M].

    Args:
        cost: [M, M] symmetric, zero diagonal, of a positive definite kernel, such as `ground_cost`.
        regularization: epsilon > 0, in units of the cost. Smaller values are nearer to unregularised
            transport and need more
            updates: for costs up to 2, a hundred converge to six digits at 0.5 and to one digit at 0.1.
        num_iterations: of the symmetric updates.
    """
    kernel = (-cost / regularization).exp()

    def smoothed(weights: Tensor, potential: Tensor) -> Tensor:
        """-eps log sum_j K_ij w_j exp(potential_j / eps), the softmin of cost minus potential."""
        return -regularization * ((weights * (potential / regularization).exp()) @ kernel).log()

    @torch.no_grad()
    def potentials(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Dual potentials of OT(p, q), on the sides of p and q; each half an update from its predecessor."""
        f, g = torch.zeros_like(p), torch.zeros_like(q)
        for _ in range(num_iterations):
            f, g = 0.5 * (f + smoothed(q, g)), 0.5 * (g + smoothed(p, f))
        return smoothed(q, g), smoothed(p, f)

    def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
        p, q = log_p.exp(), log_q.exp()
        f, g = potentials(p, q)
        f_own, _ = potentials(p, p)
        g_own, _ = potentials(q, q)
        return ((p * (f - f_own)).sum(-1) + (q * (g - g_own)).sum(-1)).clamp_min(0)

    return divergence
