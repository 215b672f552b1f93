"""What a replay needs of the machine, to the byte, and whether the machine has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from agents.replay.errors import ReplayError

_GIB = 1 << 30


class ReplayMemory(NamedTuple):
    """Bytes of a replay's arrays."""

    frames: int  # observations
    fields: int  # actions, rewards, flags, checksums
    states: int  # LSTM states
    priorities: int  # leaves of the sum tree
    tree: int  # inner nodes of the sum tree: in memory also when the rest is on disk
    rows: int  # observations that fit, summed over environments
    directory: Path | None  # where the arrays lie, or None for memory

    @property
    def stored(self) -> int:
        """Bytes of the stored arrays."""
        return self.frames + self.fields + self.states + self.priorities

    @property
    def total(self) -> int:
        """All bytes."""
        return self.stored + self.tree

    def __str__(self) -> str:
        """One line for the user."""
        where = "in memory" if self.directory is None else f"on disk in {self.directory}"
        return (
            f"replay of up to {self.rows:,} observations needs {self.total / _GIB:.2f} GiB {where} "
            f"({self.total:,} bytes: frames {self.frames:,}, fields {self.fields:,}, "
            f"LSTM states {self.states:,}, priorities {self.priorities + self.tree:,})"
        )

    def check(self) -> None:
        """Refuse a replay that does not fit.

        Raises:
            ReplayError: memory or disk is too small.
        """
        in_memory = self.total if self.directory is None else self.tree
        free = available_memory()
        if free is not None and in_memory > free:
            raise ReplayError(
                f"the replay needs {in_memory / _GIB:.2f} GiB of memory, {free / _GIB:.2f} GiB are left: "
                "lower its capacity, compress it, or keep it on disk"
            )
        if self.directory is not None:
            free = shutil.disk_usage(_existing(self.directory)).free
            if self.stored > free:
                raise ReplayError(
                    f"the replay needs {self.stored / _GIB:.2f} GiB in {self.directory}, "
                    f"{free / _GIB:.2f} GiB are free: lower its capacity, compress it, or choose another disk"
                )


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still fill without swapping, the container's limit included; None =
    unknown.

    Args:
        root: where proc/ and sys/ are looked up.
    """
    known: list[int] = []
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        known += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        if "SC_PHYS_PAGES" in os.sysconf_names:
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in (
        ("memory.max", "memory.current"),  # control groups, version 2 and version 1
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            group = root / "sys/fs/cgroup"
            # A group without a limit says "max", which is no number.
            known.append(int((group / limit).read_text()) - int((group / used).read_text()))
        except (OSError, ValueError):
            continue
    return max(0, min(known)) if known else None


def _existing(path: Path) -> Path:
    """The nearest ancestor that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
