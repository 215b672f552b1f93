"""What runs cost in time and memory: recorded as they end, estimated before they begin."""

from __future__ import annotations

import csv
import datetime
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relic_rl.comparison.launch import Outcome
from relic_rl.runtime.files import write_text

_HEADER = ("run", "exit_code", "seconds", "peak_mib")
_GIB = 2**30


class Cost(NamedTuple):
    """What a run costs.

    Attributes:
        steps_per_second: agent steps per second of training.
        peak_bytes: largest resident memory; None = unknown.
    """

    steps_per_second: float
    peak_bytes: int | None


class CostFile:
    """``costs.csv``: a row for each time that a run was started and ended, however it ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[list[str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self._rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(_HEADER)]

    def add(self, outcome: Outcome) -> None:
        """Write down how a job ended."""
        peak = "" if outcome.peak_bytes is None else f"{outcome.peak_bytes / 2**20:.0f}"
        self._rows.append([outcome.job.name, str(outcome.exit_code), f"{outcome.seconds:.1f}", peak])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_HEADER, *self._rows])
        write_text(self._path, text.getvalue())

    def peak_bytes(self, name: str) -> int | None:
        """Largest memory of a run over all its starts; None = unknown."""
        peaks = [int(float(row[3]) * 2**20) for row in self._rows if row[0] == name and row[3]]
        return max(peaks, default=None)


def describe_estimate(
    costs: Mapping[str, Sequence[Cost]],
    steps: Mapping[str, int],
    jobs: int,
    *,
    source: str,
    more_bytes: int,
    available: int | None,
) -> str:
    """The estimate of what is still to be run, in one paragraph.

    Args:
        costs: by arm, of runs that were measured or finished.
        steps: by arm, agent steps still to be made over all of its runs.
        jobs: runs at a time.
        source: where ``costs`` are from.
        more_bytes: memory that a run takes later on and that was not seen (a replay that fills).
        available: bytes of memory that are left; None = unknown.
    """
    known = [cost for of_arm in costs.values() for cost in of_arm]
    overall = statistics.fmean(cost.steps_per_second for cost in known)
    rates = {
        arm: statistics.fmean(cost.steps_per_second for cost in of_arm) if (of_arm := costs.get(arm)) else overall
        for arm in steps
    }
    seconds = sum(steps[arm] / rates[arm] for arm in steps) / jobs
    lasting = datetime.timedelta(seconds=round(seconds))
    told = ", ".join(f"{arm} {rate:,.0f}" for arm, rate in rates.items())
    text = (
        f"estimate from {source}: {lasting} of training for {sum(steps.values()):,} agent steps, {jobs} at a time "
        f"(steps/s of a run: {told}); final evaluations come on top"
    )
    peaks = [cost.peak_bytes for cost in known if cost.peak_bytes is not None]
    if peaks:
        each = max(peaks) + more_bytes
        text += f"; memory {each / _GIB:.1f} GiB a run, {jobs * each / _GIB:.1f} GiB together"
        if available is not None:
            text += f", {available / _GIB:.1f} GiB are left"
            if jobs * each > available:
                text += ": TOO LITTLE, lower --jobs"
    return text
