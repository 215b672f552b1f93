"""Several processes that train as one, started by torchrun on one machine or many.

Every process computes on its own rows of each batch; gradients are averaged by DistributedDataParallel. One
process, the writer (rank 0), keeps the run directory.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from relic_rl.runtime.errors import BadInput, RunFailed


class Processes(NamedTuple):
    """This process among all.

    Attributes:
        rank: from 0.
        world_size: R, the number of processes.
        local_rank: among those of this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_writer(self) -> bool:
        """Whether this process keeps the records."""
        return self.rank == 0


def launched_processes() -> Processes:
    """What torchrun's environment variables say; one process where there are none.

    Raises:
        BadInput: they contradict each other.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return Processes()
    try:
        found = Processes(
            int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0"))
        )
    except ValueError:
        found = Processes(-1)
    if not 0 <= found.rank < found.world_size:
        raise BadInput("RANK and WORLD_SIZE do not agree: start several processes with torchrun")
    return found


def local_device(name: str, processes: Processes) -> str:
    """The device name for this process: of several on CUDA, each takes the one of its local rank.

    Raises:
        BadInput: a certain GPU is asked for and there are several processes.
    """
    if processes.world_size == 1:
        return name
    if name.startswith("cuda:"):
        raise BadInput(f"--device {name}: several processes each take a GPU of their own, give auto or cuda")
    if name == "cpu" or not torch.cuda.is_available():
        return name
    return f"cuda:{processes.local_rank}"


@contextlib.contextmanager
def process_group(processes: Processes, device: torch.device) -> Iterator[None]:
    """The group of all processes while this block runs; nothing for a single one.

    What `parallel` returned must be out of scope at the block's end: train in a function of its own.

    Raises:
        RunFailed: the processes do not find each other.
    """
    if processes.world_size == 1:
        yield
        return
    # Imported after the group is made, its functions' default arguments would hold the group for ever.
    importlib.import_module("torch.distributed.nn")
    with failures_of_others():
        # gloo beside NCCL: small messages between CPUs (is a signal pending?) must not wait for the GPU.
        if device.type == "cuda":
            torch.cuda.set_device(device)
            dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
        # gloo's threads end with the last reference to the group, which DistributedDataParallel's cycles keep. One
        # that lets go of a tensor while the interpreter shuts down aborts the process.
        gc.collect()


@contextlib.contextmanager
def failures_of_others() -> Iterator[None]:
    """Turn what a process sees when another one is gone into a `RunFailed`, so that it ends in one line.

    Raises:
        RunFailed: the connection to another process is gone.
    """
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises are RuntimeErrors
        if not isinstance(error, dist.DistError) and not _is_transport(str(error)):
            raise
        reason = " ".join(str(error).split())[:120]
        raise RunFailed(f"the connection to another process is gone ({reason})") from error


def _is_transport(message: str) -> bool:
    """Whether a RuntimeError is gloo's, for which it has no type of its own."""
    return any(word in message for word in ("gloo", "Connection closed by peer", "Connection reset", "Timed out"))


def parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with gradients averaged over all processes, all starting from the writer's state.

    A single process gets the module itself.
    """
    if not dist.is_initialized():
        return module
    return nn.parallel.DistributedDataParallel(
        module,
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,  # equal anyway: statistics are computed over all processes
        gradient_as_bucket_view=True,
    )


@contextlib.contextmanager
def accumulate(module: nn.Module, last: bool) -> Iterator[None]:
    """While this block runs, gradients stay in this process unless it is the last of an update."""
    if last or not isinstance(module, nn.parallel.DistributedDataParallel):
        yield
    else:
        with module.no_sync():
            yield


def largest(values: Sequence[int]) -> list[int]:
    """Of several numbers each the largest of all processes' values, on all of them."""
    if not dist.is_initialized():
        return list(values)
    tensor = torch.tensor(list(values))
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return [int(value) for value in tensor]


def mean_over_processes(values: Tensor) -> Tensor:
    """Means over all processes of a tensor without gradient, on all of them."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def from_writer(value: Any) -> Any:
    """The writer's value, on all processes; plain values only."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_to_all(value: Any) -> list[Any]:
    """The values of all processes by rank, on all of them; plain values only."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def differ_across_processes(modules: list[nn.Module]) -> bool:
    """Whether parameters or buffers differ between processes, by a checksum."""
    with torch.no_grad():
        tensors = [t.detach().double() for module in modules for t in module.state_dict().values() if _is_tensor(t)]
        sums = [float(t.sum()) for t in tensors] + [float(t.abs().sum()) for t in tensors]
    return any(other != sums for other in gather_to_all(sums))


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
