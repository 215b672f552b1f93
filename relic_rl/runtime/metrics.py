"""What a run measures as it goes: ``progress.csv`` and TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from relic_rl.runtime.events import EventFile
from relic_rl.runtime.files import write_text

COLUMNS = ("step", "frames", "seconds", "steps_per_second", "mean_return", "num_games", "updates")
ROW_STEPS = 2_048
ROW_SECONDS = 10.0
Row = dict[str, float]


class MetricLogger:
    """Writes a row when both 2,048 agent steps and 10 s have gone by since the last one, and one at the end.

    Time spent under `pause` (evaluation, video) does not count. On a resume the rows after the checkpoint's
    step are dropped, since they are about to be made again.

    Args:
        run_dir: holds ``progress.csv`` and the event files.
        frame_skip: frames per agent step.
        step: agent steps done before (the checkpoint's; 0 for a new run).
        seconds: seconds of training done before.
        row_steps: least agent steps from one row to the next.
        row_seconds: least seconds from one row to the next.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        frame_skip: int = 1,
        step: int = 0,
        seconds: float = 0.0,
        row_steps: int = ROW_STEPS,
        row_seconds: float = ROW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = run_dir / "progress.csv"
        self.frame_skip = frame_skip
        self.row_steps = row_steps
        self.row_seconds = row_seconds
        self._clock = clock
        self._origin = clock() - seconds  # pauses move it forward
        self._last_step = step
        self._last_seconds = seconds
        self._sums: dict[str, tuple[float, int]] = {}
        before = read_progress(self.path) if self.path.exists() else None
        rows = [row for row in before or [] if row.get("step", math.inf) <= step]
        self._columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
        self._rewrite(rows)
        self._events = EventFile(run_dir, purge_step=None if before is None else step + 1)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, pauses left out; save it with the checkpoint."""
        return self._clock() - self._origin

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time in this block does not count."""
        start = self._clock()
        try:
            yield
        finally:
            self._origin += self._clock() - start

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count metrics in: a row shows their means since the last one, not-a-number left out."""
        for name, value in metrics.items():
            if not math.isnan(number := float(value)):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + number, count + 1)

    def due(self, step: int) -> bool:
        """Whether it is time for a row."""
        return step - self._last_step >= self.row_steps and self.seconds - self._last_seconds >= self.row_seconds

    def write(self, step: int, *, mean_return: float, num_games: int, updates: int) -> Row | None:
        """Write a row now, whether due or not (the last one of a run); a step is written once.

        Args:
            step: agent steps so far.
            mean_return: of recent whole games, raw scores; not-a-number if there are none yet.
            num_games: whole games so far.
            updates: optimiser steps so far.

        Returns:
            The row; None if the step has one already.

        Raises:
            OSError: disk full or unwritable, or somebody deleted the file.
        """
        if step <= self._last_step:
            return None
        seconds = self.seconds
        row: Row = {
            "step": step,
            "frames": step * self.frame_skip,
            "seconds": seconds,
            "steps_per_second": (step - self._last_step) / max(seconds - self._last_seconds, 1e-9),
            "mean_return": mean_return,
            "num_games": num_games,
            "updates": updates,
        } | {name: total / count for name, (total, count) in self._sums.items()}
        if new := [name for name in row if name not in self._columns]:
            self._columns += new
            self._rewrite(read_progress(self.path))
        with self.path.open("r+", encoding="utf-8", newline="") as file:  # not "a": a deleted file must be noticed
            file.seek(0, io.SEEK_END)
            file.write(_csv([[_cell(row.get(name, math.nan)) for name in self._columns]]))
        self._events.add_scalars(step, {name: value for name, value in row.items() if name != "step"})
        self._last_step, self._last_seconds = step, seconds
        self._sums.clear()
        return row

    def close(self) -> None:
        """Close the event file."""
        self._events.close()

    def _rewrite(self, rows: Sequence[Row]) -> None:
        table = [self._columns, *([_cell(row.get(name, math.nan)) for name in self._columns] for row in rows)]
        write_text(self.path, _csv(table))


def read_progress(path: Path) -> list[Row]:
    """The rows of a ``progress.csv``; a half-written last line (a killed run) and whatever else is no row are left out.

    Raises:
        OSError: unreadable.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        text = file.read()
    try:
        lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    except csv.Error:
        return []
    rows = []
    for cells in lines[1:]:
        with contextlib.suppress(ValueError):
            rows.append({name: float(cell) for name, cell in zip(lines[0], cells, strict=True)})
    return rows


def _cell(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.8g}"


def _csv(table: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()
