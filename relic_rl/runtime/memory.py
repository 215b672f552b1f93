"""How the process handles memory that it has freed."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, for the next ones, in place of returning them to the kernel.

    A training step on a CPU allocates and frees the same tens of megabytes again and again. By default each
    such block is a mapping of its own, whose pages the kernel hands out, zeroed, at every step: measured, a
    fifth to a quarter of an R2D2 update. The price is that the process does not shrink.

    Call it after what lives long (a replay) has been allocated, which is better off in mappings.

    Returns:
        Whether it could be done: with glibc only.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MOST) and mallopt(_M_TOP_PAD, 64 << 20))
