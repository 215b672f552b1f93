"""Progress for whoever watches: a live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import datetime
import math
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

_REFRESH = 0.25  # seconds between two states of the live line


class Progress:
    """Shows how far a run is and how it fares.

    Args:
        total_steps: agent steps of the whole run.
        frame_skip: frames per agent step.
        every: seconds from one plain line to the next, where the output is no terminal.
        file: where to; standard output by default.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        frame_skip: int = 1,
        every: float = 10.0,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps = total_steps
        self.frame_skip = frame_skip
        self._file = file or sys.stdout
        self._live: Live | None = None
        if self._file.isatty():
            self._live = Live(console=Console(file=self._file), auto_refresh=False, transient=False)
        self._every = _REFRESH if self._live else every
        self._clock = clock
        self._shown_at = -math.inf
        self._last: tuple[int, float] | None = None  # agent steps and seconds of training when last shown

    def __enter__(self) -> Self:
        """Start the live line."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Leave the live line as it stands, and the terminal as it was."""
        if self._live:
            self._live.stop()

    def update(
        self,
        step: int,
        seconds: float,
        *,
        mean_return: float,
        num_games: int,
        metrics: Mapping[str, float],
        final: bool = False,
    ) -> None:
        """Show the state of the run, if it is time to.

        Args:
            step: agent steps so far.
            seconds: seconds of training so far (``MetricLogger.seconds``).
            mean_return: of recent whole games; not-a-number if there are none yet.
            num_games: whole games so far.
            metrics: the latest; those with "loss" in their name are shown.
            final: show it in any case.
        """
        games = "no game finished yet" if math.isnan(mean_return) else f"return {mean_return:.4g} ({num_games:,} games)"
        frames = f"{step * self.frame_skip:,} frames"
        self.show(step, seconds, done=frames, fares=games, metrics=metrics, final=final)

    def show(
        self, step: int, seconds: float, *, done: str, fares: str, metrics: Mapping[str, float], final: bool = False
    ) -> None:
        """Show the state of a run of any kind, if it is time to.

        Args:
            step: how far it is, of ``total_steps``.
            seconds: spent so far.
            done: what that is in other units.
            fares: how it fares; empty for nothing to say.
            metrics: the latest; those with "loss" in their name are shown.
            final: show it in any case.
        """
        now = self._clock()
        if not final and now - self._shown_at < self._every:
            return
        self._shown_at = now
        line = self._line(step, seconds, done, fares, metrics)
        self._last = (step, seconds)
        if self._live:
            self._live.update(Text(line), refresh=True)
        else:
            print(line, file=self._file, flush=True)

    def note(self, message: str) -> None:
        """Print a line of its own."""
        if self._live:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=self._file, flush=True)

    def _line(self, step: int, seconds: float, done: str, fares: str, metrics: Mapping[str, float]) -> str:
        share = step / self.total_steps
        parts = [f"{step:,}/{self.total_steps:,} steps ({share:.1%})", done]
        if self._last and step > self._last[0] and seconds > self._last[1]:
            rate = (step - self._last[0]) / (seconds - self._last[1])
            left = datetime.timedelta(seconds=round(max(self.total_steps - step, 0) / rate))
            parts += [f"{rate:,.0f} steps/s", f"{left} left"]
        parts += [fares] if fares else []
        losses = [f"{name} {value:.3g}" for name, value in metrics.items() if "loss" in name]
        return "  ".join([*parts, *losses])
