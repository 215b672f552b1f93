"""PPO's minibatches over several processes: together they are one minibatch, its statistics those of all rows.

Each process permutes and splits its own transitions, so a minibatch of all has as many rows of each process as chance
would give it on average (a stratified draw). Steps that auto-reset invents make the processes' numbers of rows
differ; a mean over all rows is the mean over processes of R n_r / n times each one's own mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.runtime.distributed import Processes, gather_numbers


class Minibatch(NamedTuple):
    """Which transitions a process contributes to a minibatch (B: its own, R: processes)."""

    rows: Tensor  # int64 [B]
    share: float  # R B / number of all rows: what this process's means count in a mean over processes
    least: int  # B of the process that has fewest
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


def variance(values: Tensor, counts: list[int]) -> Tensor:
    """Variance of values [n] over all processes, Bessel-corrected; ``counts``: n of each."""
    if len(counts) == 1:
        return values.var()
    wide = values.double()
    total, square = gather_numbers(torch.stack([wide.sum(), wide.square().sum()]).cpu()).sum(0)
    n = sum(counts)
    spread: Tensor = (square - total.square() / n).clamp(min=0) / max(n - 1, 1)
    return spread
