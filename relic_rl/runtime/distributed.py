"""Several processes that train as one, started by torchrun on one machine or many.

Every process computes on its own rows of each batch; gradients are averaged by DistributedDataParallel. One
process, the writer (rank 0), keeps the run directory.

There are two groups. Gradients, losses and contrast sets go through the first, in the order of the updates, from
whichever thread makes these. What processes tell each other beside (counts, signals, priorities, checkpoints) goes
through the second, between CPUs, from the main thread. So neither waits for the other nor takes its messages.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from relic_rl.runtime.errors import BadInput, RunFailed, describe_end
from relic_rl.runtime.liveness import Peers
from relic_rl.runtime.meeting import Meeting, mortal

T = TypeVar("T")
_talk: dist.ProcessGroup | None = None  # the second group


class Processes(NamedTuple):
    """This process among all.

    Attributes:
        rank: from 0.
        world_size: R, the number of processes.
        local_rank: among those of this machine.
        local_world_size: processes of this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_writer(self) -> bool:
        """Whether this process keeps the records."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    def share(self, total: int) -> slice:
        """Which of ``total`` things, a multiple of R, are this process's."""
        size = total // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)


def launched_processes() -> Processes:
    """What torchrun's environment variables say; one process where there are none.

    Raises:
        BadInput: they contradict each other.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return Processes()
    try:
        found = Processes(
            int(os.environ["RANK"]),
            int(os.environ["WORLD_SIZE"]),
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
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
def process_group(processes: Processes, device: torch.device) -> Iterator[Peers | None]:
    """The group of all processes while this block runs; nothing for a single one.

    What `parallel` returned must be out of scope at the block's end: train in a function of its own.

    Yields:
        The watch over the others; None for a single process.

    Raises:
        RunFailed: the processes do not find each other.
    """
    global _talk  # noqa: PLW0603 (as torch.distributed keeps its groups)
    if not processes.are_several:
        yield None
        return
    # The versions of torch that this project runs on have different names for the same, the older ones deprecated.
    warnings.filterwarnings("ignore", ".*deprecated", FutureWarning, r"torch\.distributed|relic_rl\.runtime")
    # Imported after the group is made, its functions' default arguments would hold the group for ever.
    importlib.import_module("torch.distributed.nn")
    rank, count = processes.rank, processes.world_size
    with failures_of_others(None), mortal(), Meeting(rank, count) as meeting:
        # gloo beside NCCL: small messages between CPUs (is a signal pending?) must not wait for the GPU.
        backend, card = "gloo", None
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend, card = "cpu:gloo,cuda:nccl", device
        dist.init_process_group(backend, store=meeting.store("group"), rank=rank, world_size=count, device_id=card)
        _talk = dist.new_group(backend="gloo")
        peers = Peers(rank, count, meeting.store("liveness"))
    reason: str | None = None
    try:
        yield peers
    except BaseException as error:
        # Those who only felt the end of another have nothing to tell of their own.
        reason = "" if isinstance(error, OtherFailed) else describe_end(error)
        raise
    finally:
        peers.close(reason)
        _talk = None
        dist.destroy_process_group()
        # gloo's threads end with the last reference to the group, which DistributedDataParallel's cycles keep. One
        # that lets go of a tensor while the interpreter shuts down aborts the process.
        gc.collect()


class OtherFailed(RunFailed):
    """Another process is gone; the message says which one, where that can be known."""


@contextlib.contextmanager
def failures_of_others(peers: Peers | None) -> Iterator[None]:
    """Turn what a process sees when another one is gone into a `RunFailed`, so that it ends in one line.

    Args:
        peers: who can tell which one it was; None where nobody can.

    Raises:
        OtherFailed: the connection to another process is gone.
    """
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises are RuntimeErrors
        if not isinstance(error, dist.DistError) and not _is_transport(str(error)):
            raise
        if peers is not None:
            raise OtherFailed(peers.explain()) from error
        reason = " ".join(str(error).split())[:120]
        raise OtherFailed(f"the connection to another process is gone ({reason})") from error


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
    largest_values: list[int] = gather_numbers(torch.tensor(list(values))).amax(0).tolist()
    return largest_values


def gather_numbers(numbers: Tensor) -> Tensor:
    """A tensor [...] of each process by rank, [R, ...], on all of them; on the CPU and without gradient."""
    if not dist.is_initialized():
        return numbers[None]
    gathered = [torch.empty_like(numbers) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, numbers.contiguous(), group=_talk)
    return torch.stack(gathered)


def mean_over_processes(values: Tensor) -> Tensor:
    """Means over all processes of a tensor without gradient, on all of them; part of an update."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def least_over_processes(number: int, device: torch.device) -> int:
    """The least of all processes' numbers, on all of them; part of an update."""
    if not dist.is_initialized():
        return number
    numbers = torch.empty(dist.get_world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(numbers, torch.tensor([number], device=device))
    return int(numbers.min())


def from_writer(value: T) -> T:
    """The writer's value, on all processes; plain values and tensors."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=_talk)
    return box[0]


def gather_to_all(value: T) -> list[T]:
    """The values of all processes by rank, on all of them; plain values and tensors."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_talk)
    return values


def gather_to_writer(value: T) -> list[T] | None:
    """The values of all processes by rank, on the writer; None on the others."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=_talk)
    return values


def together(action: Callable[[], T]) -> T:
    """Do something in every process; where one is given bad input all of them end.

    Raises:
        BadInput: this process's, or else another one's.
    """
    error: ValueError | None = None
    try:
        done = action()
    except ValueError as caught:
        error = caught
    told = [problem for problem in gather_to_all(None if error is None else str(error)) if problem is not None]
    if error is not None:
        raise error
    if told:
        raise BadInput(told[0])
    return done


def locally_first(action: Callable[[], T], processes: Processes) -> T:
    """Do something in every process, first in one of each machine: the others find what that one has kept."""
    if processes.local_rank:
        gather_to_all(None)
    try:
        return action()
    finally:
        if not processes.local_rank:
            gather_to_all(None)


def copy_from_writer(modules: Sequence[nn.Module]) -> None:
    """Let all processes have the writer's parameters and buffers."""
    if not dist.is_initialized():
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def odd_ranks(modules: Sequence[nn.Module]) -> list[int]:
    """The ranks whose parameters or buffers are not those of the writer, by a checksum; the same on all processes."""
    with torch.no_grad():
        tensors = [t.detach().double() for m in modules for t in (*m.parameters(), *m.buffers())]
        # Each element counts with a weight of its own place's, so that a permutation shows.
        sums = [float(total) for t in tensors for total in (t.sum(), (t.flatten() * _places(t)).sum())]
    found = gather_numbers(torch.tensor(sums, dtype=torch.float64))
    return [rank for rank, own in enumerate(found) if not own.view(torch.int64).equal(found[0].view(torch.int64))]


def _places(tensor: Tensor) -> Tensor:
    """Numbers from 1 to 2 by place, for a checksum."""
    return torch.linspace(1, 2, tensor.numel(), dtype=torch.float64, device=tensor.device)
