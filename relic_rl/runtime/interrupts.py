"""SIGINT and SIGTERM as a flag that a loop looks at, so that it can save before it stops."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from types import FrameType, TracebackType
from typing import Self

from relic_rl.runtime.errors import Terminated

PATIENCE = 5.0  # seconds; a cluster that preempts a job often kills it after 30
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within this context the first SIGINT or SIGTERM is noted; a second one stops at once.

    At once means that it raises KeyboardInterrupt or `Terminated`; should that not get through (code outside
    of Python that does not return), a third one kills. Only the main thread may enter.

    Attributes:
        exit_code: 0, or once a signal has come, 130 (SIGINT) or 143 (SIGTERM).
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._since = math.inf

    @property
    def requested(self) -> bool:
        """Whether the loop should save and stop."""
        return self.exit_code != 0

    @property
    def urgent(self) -> bool:
        """Whether the signal came more than `PATIENCE` seconds ago: save what there is, in the middle of anything."""
        return time.monotonic() - self._since > PATIENCE

    def __enter__(self) -> Self:
        """Take over the signals."""
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        self.exit_code = 128 + number
        self._since = time.monotonic()
        with contextlib.suppress(OSError):  # print() is not safe in a handler, and nobody may be reading
            os.write(2, b"\nstopping: saving first; once more to stop at once\n")
