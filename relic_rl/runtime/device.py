"""The device and the CPU threads that ``--device`` and ``--threads`` ask for."""

from __future__ import annotations

import os

import torch

from relic_rl.runtime.errors import BadInput


def resolve_device(name: str) -> torch.device:
    """The device that a name means; ``auto`` is CUDA where there is one.

    Args:
        name: auto, cpu, cuda or cuda:INDEX.

    Raises:
        BadInput: no such name, or no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not (index.isascii() and index.isdigit())):
        raise BadInput(f"--device {name}: give auto, cpu, cuda or cuda:INDEX")
    if torch.version.cuda is None:
        raise BadInput(f"--device {name}: this torch ({torch.__version__}) is built without CUDA; use cpu")
    if not torch.cuda.is_available():
        raise BadInput(f"--device {name}: no CUDA device or driver is found here; use cpu")
    count = torch.cuda.device_count()
    number = int(index or 0)
    if number >= count:
        raise BadInput(f"--device {name}: the last device here is cuda:{count - 1}")
    return torch.device("cuda", number)


def device_name(device: torch.device) -> str:
    """What the device is, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def set_threads(threads: int, processes: int = 1) -> int:
    """Let torch use this many CPU threads; 0 leaves its own choice (all cores, or ``OMP_NUM_THREADS``).

    Of several processes on this machine each takes its part of the cores: torch would let each have all of them, and
    torchrun gives each a single one. An ``OMP_NUM_THREADS`` above 1 is somebody's choice and stands.

    Args:
        threads: of this process.
        processes: processes on this machine that share its cores.

    Returns:
        The number in use.
    """
    if not threads and processes > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        threads = max(1, len(os.sched_getaffinity(0)) // processes)
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
