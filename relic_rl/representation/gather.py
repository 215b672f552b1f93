"""Rows of all processes, for losses that contrast across them.

Each process anchors its own N rows against the candidates of all R processes. The backward pass of the gather
sums what every process wants of a row, so gradients averaged over processes (as DistributedDataParallel does)
are those of one process holding all R * N rows. Without torch.distributed, or in a group of one, nothing is
communicated.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """R, the number of processes; 1 where torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def row_offset(num_rows: int) -> int:
    """Where this process's rows start among the gathered ones: rank * N."""
    return dist.get_rank() * num_rows if world_size() > 1 else 0


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes in order of rank, [R * N, ...], of this process's rows [N, ...].

    Every process must call it, with the same shape; gradient flows back to the process that a row came from.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _AllGather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def gather_views(views: Sequence[Tensor]) -> list[Tensor]:
    """`gather_rows` of several tensors [N, ...] of one shape and type, in one round of communication."""
    if world_size() == 1:
        return list(views)
    return list(gather_rows(torch.stack(list(views), dim=1)).unbind(dim=1))


class _AllGather(torch.autograd.Function):
    """Forward: all-gather along the first dimension. Backward: reduce-scatter, the sum over processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(dist.get_world_size() * rows.shape[0], *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        own = grad.new_empty(grad.shape[0] // dist.get_world_size(), *grad.shape[1:])
        dist.reduce_scatter_tensor(own, grad.contiguous())
        return own
