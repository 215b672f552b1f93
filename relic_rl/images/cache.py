"""Where data that took long to make are kept for the next run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

CACHE_BYTES = 20 << 30
"""What a kind of data, such as features or frames, may take in the cache."""
_ABANDONED = 24 * 3_600  # seconds without a write after which nobody is still filling a folder


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/relic_rl``, by default ``~/.cache/relic_rl``; not made here."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "relic_rl"


def mark_used(folder: Path) -> None:
    """Make a folder of the cache the last one that `limit_cache` removes."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def limit_cache(newest: Path, *, limit: int = CACHE_BYTES) -> None:
    """Remove the folders beside one, the least recently used first, until all together are small enough.

    Whoever has mapped files of a removed folder keeps them.

    Args:
        newest: the folder that stays, however large it is.
        limit: bytes of all folders together. Hidden folders are being filled and stay, unless abandoned for a day.
    """
    found: list[tuple[float, int, Path]] = []
    total = 0
    for folder in newest.parent.iterdir():
        with contextlib.suppress(OSError):  # another process removes it just now, or it is no folder
            files = [file.stat() for file in folder.iterdir()]
            used = max(about.st_mtime for about in (folder.stat(), *files))
            size = sum(about.st_size for about in files)
            total += size
            if folder != newest and not (folder.name.startswith(".") and time.time() - used < _ABANDONED):
                found.append((used, size, folder))
    for _, size, folder in sorted(found):
        if total <= limit:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size
