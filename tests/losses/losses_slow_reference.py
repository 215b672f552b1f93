"""RELIC in loops over single numbers, written from the equations and from the textbook definitions of the
divergences.

Shares nothing with the code under test. Candidates that are left out are simply not visited.
"""

import torch
from torch import Tensor


def slow_divergence(name, p, q):  # noqa: PLR0911
    """D(p, q) of two lists of positive probabilities, 0-d tensors."""
    pairs = list(zip(p, q, strict=True))
    if name == "kl":
        return sum(a * torch.log(a / b) for a, b in pairs)
    if name == "reverse_kl":
        return sum(b * torch.log(b / a) for a, b in pairs)
    if name == "symmetric_kl":
        return (slow_divergence("kl", p, q) + slow_divergence("kl", q, p)) / 2
    if name == "js":
        m = [(a + b) / 2 for a, b in pairs]
        return (slow_divergence("kl", p, m) + slow_divergence("kl", q, m)) / 2
    if name == "total_variation":
        return sum(abs(a - b) for a, b in pairs) / 2
    if name == "hellinger":
        return 1 - sum(torch.sqrt(a * b) for a, b in pairs)
    if name == "chi2":
        return torch.log(1 + sum((a - b) ** 2 / b for a, b in pairs))
    if name.startswith("renyi("):
        order = float(name[6:-1])
        return torch.log(sum(a**order * b ** (1 - order) for a, b in pairs)) / (order - 1)
    raise AssertionError(name)


def slow_relic(
    online: list[Tensor],
    target: list[Tensor],
    *,
    temperature=0.1,
    alpha=1.0,
    divergence="kl",
    normalize=True,
    positive_offset=0,
    anchor_group=None,
    target_group=None,
    negatives=None,
    penalty_stop_gradient=None,
):
    """Total, contrastive and invariance of (R2), house normalisation, with autograd through the loops."""
    num_anchors, num_candidates = len(online[0]), len(target[0])

    def phi(u, v):
        dot = sum(a * b for a, b in zip(u, v, strict=True))
        if not normalize:
            return dot
        return dot / torch.sqrt(sum(a * a for a in u)) / torch.sqrt(sum(b * b for b in v))

    def is_candidate(i, j):
        if j == i + positive_offset:
            return True
        if anchor_group is not None and anchor_group[i] == target_group[j]:
            return False
        return negatives is None or j in negatives[i].tolist()

    interventions = [(left, right) for left in range(len(online)) for right in range(len(target)) if left != right]
    contrastive, invariance = 0.0, torch.zeros((), dtype=online[0].dtype)
    for i in range(num_anchors):
        columns = [j for j in range(num_candidates) if is_candidate(i, j)]
        distribution = {}
        for left, right in interventions:
            scores = [torch.exp(phi(online[left][i], target[right][j]) / temperature) for j in columns]
            distribution[left, right] = [score / sum(scores) for score in scores]
            contrastive = contrastive - torch.log(distribution[left, right][columns.index(i + positive_offset)])
        for lk in interventions:
            for qt in interventions:
                if lk != qt:
                    p, q = distribution[lk], distribution[qt]
                    if penalty_stop_gradient == "first":
                        p = [a.detach() for a in p]
                    if penalty_stop_gradient == "second":
                        q = [b.detach() for b in q]
                    invariance = invariance + slow_divergence(divergence, p, q)
    num = len(interventions)
    contrastive = contrastive / (num_anchors * num)
    invariance = invariance / (num_anchors * max(1, num * (num - 1)))
    return contrastive + alpha * invariance, contrastive, invariance


def views(num, rows, features, seed, *, requires_grad=True, dtype=torch.float64):
    """`num` random tensors [rows, features]."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, features, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(requires_grad)
        for _ in range(num)
    ]
