"""PPO's minibatches over several processes: together they are one minibatch, its statistics those of all rows.

Each process permutes and splits its own transitions, so a minibatch of all has as many rows of each process as chance
would give it on average (a stratified draw). Steps that auto-reset invents make the processes' numbers of rows
differ; a mean over all rows is the mean over processes of R n_r / n times each one's own mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.rollout import PPOBatch
from relic_rl.runtime.distributed import Processes, gather_numbers


class Minibatch(NamedTuple):
    """Which transitions a process, or a part of its work (`divide`), contributes to a minibatch.

    B: transitions of the process, or of the part; R: processes.
    """

    rows: Tensor  # int64 [B]
    share: float  # R B / number of all rows: what means over these rows count in a mean over processes
    least: int  # transitions of the process that has fewest
    moments: tuple[float, float] | None  # mean and standard deviation of all rows' advantages; None: of these rows


def split_minibatches(
    order: Tensor, advantage: Tensor, num_minibatches: int, counts: list[int], processes: Processes
) -> list[Minibatch]:
    """Split a pass over the transitions; all processes call it together.

    Args:
        order: int64 [n], this process's transitions in the order in which to take them.
        advantage: float [T N], of all transitions that ``order`` points at.
        num_minibatches: minibatches of the pass.
        counts: n of each process, at least one for each minibatch.
        processes: this one among all.
    """
    parts = order.tensor_split(num_minibatches)
    if not processes.are_several:
        return [Minibatch(part, 1.0, len(part), None) for part in parts]
    own = [advantage[part].double() for part in parts]
    sums = torch.stack([torch.stack([a.sum(), a.square().sum()]) for a in own]).cpu()
    totals = gather_numbers(sums).sum(0)
    split = []
    for k, part in enumerate(parts):
        sizes = [count // num_minibatches + (k < count % num_minibatches) for count in counts]
        mean, square = (float(total) / sum(sizes) for total in totals[k])
        deviation = max(square - mean**2, 0.0) ** 0.5
        share = processes.world_size * len(part) / sum(sizes)
        split.append(Minibatch(part, share, min(sizes), (mean, deviation)))
    return split


def divide(part: Minibatch, batch: PPOBatch, first: int) -> list[tuple[Minibatch, PPOBatch]]:
    """A minibatch in two parts whose losses, each times its share, add up to that of all rows.

    Args:
        part: the minibatch.
        batch: its B transitions.
        first: rows of the first part, from 1 to B; with B there is no second.
    """
    rows = len(part.rows)
    if first == rows:
        return [(part, batch)]
    moments = part.moments or (batch.advantage.mean().item(), batch.advantage.std(correction=0).item())
    divided = []
    for size, own in ((first, slice(first)), (rows - first, slice(first, None))):
        minibatch = Minibatch(part.rows[own], part.share * size / rows, part.least, moments)
        divided.append((minibatch, PPOBatch(*(field[own] for field in batch))))
    return divided


def variance(values: Tensor, counts: list[int]) -> Tensor:
    """Variance of values [n] over all processes, Bessel-corrected; ``counts``: n of each."""
    if len(counts) == 1:
        return values.var()
    wide = values.double()
    total, square = gather_numbers(torch.stack([wide.sum(), wide.square().sum()]).cpu()).sum(0)
    n = sum(counts)
    spread: Tensor = (square - total.square() / n).clamp(min=0) / max(n - 1, 1)
    return spread
