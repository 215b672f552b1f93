"""Processes that decode images: how they begin, and what their death means."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterator

from relic_rl.runtime.errors import RunFailed

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def begin_worker(worker: int) -> None:
    """In a worker: Ctrl-C is for the main process to answer; SIGTERM ends the worker, and so does its parent's end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        # torch's workers look every five seconds whether their parent lives. Until then those of a killed run would
        # hold what it had open: the lock of its run directory, which the resumed run needs.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def worker_errors() -> Iterator[None]:
    """Turn torch's word of a worker's death into `RunFailed`."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunFailed("a process that loads images died (out of memory?): lower --workers") from error
