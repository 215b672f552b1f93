"""Ties a run to the process that started it: ``python -m relic_rl.comparison.tether PARENT MODULE ARGUMENTS``.

Whoever starts runs may be killed (SIGKILL) without a chance to stop them. A run that went on alone would write into a
directory that a second start takes up. So it asks the kernel to be killed with its parent (Linux), or looks twice a
second whether its parent is still there (elsewhere); its newest checkpoint stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_to(parent: int) -> None:
    """Let this process end with the process ``parent``, which started it."""
    tied = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            tied = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0
    if not tied:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it was gone before the tie was made
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Tie, then run the module in this process, as ``python -m MODULE ARGUMENTS`` would."""
    parent, module, *arguments = sys.argv[1:]
    tie_to(int(parent))
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
