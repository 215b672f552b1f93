"""A part of the training images, held out to choose hyper-parameters by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def held_out(
    count: int, share: float, generator: np.random.Generator, groups: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Split indices at random: int64 of those to learn from and of those to choose by, at least one of each.

    Args:
        count: N, at least 2.
        share: of N, to choose by; with groups at least that, as far as whole groups allow.
        generator: draws them.
        groups: int64 [N], of near copies, such as frames of one episode: a group goes to one side as a whole. None, or
            one group alone: each index by itself.
    """
    some = min(max(round(share * count), 1), count - 1)
    _, member = np.unique(np.arange(count) if groups is None else groups.numpy(), return_inverse=True)
    sizes = np.bincount(member)
    if len(sizes) == 1:
        member, sizes = np.arange(count), np.ones(count, dtype=np.int64)
    order = generator.permutation(len(sizes))
    enough = min(int(np.searchsorted(np.cumsum(sizes[order]), some)) + 1, len(sizes) - 1)
    chosen = torch.from_numpy(np.isin(member, order[:enough]))
    return torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten()


def at_the_edge(chosen: float, sweep: Mapping[float, float]) -> bool:
    """Whether a wider sweep may do better: the best value is the least or the greatest, and better than its neighbour.

    Args:
        chosen: the value with the highest score.
        sweep: scores by value; empty where there was nothing to choose.
    """
    values = sorted(sweep)
    if len(values) < 2 or chosen not in (values[0], values[-1]):
        return False
    neighbour = values[1] if chosen == values[0] else values[-2]
    return sweep[neighbour] < sweep[chosen]
