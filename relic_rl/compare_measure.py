"""What a comparison's runs cost, measured: from those that are finished, or by running some for a few seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from relic_rl.compare_plan import Plan
from relic_rl.comparison.costs import Cost, CostFile
from relic_rl.comparison.launch import Job, LocalLauncher
from relic_rl.comparison.plan import PlannedRun
from relic_rl.comparison.runs import read_result
from relic_rl.runtime.errors import BadInput, RunFailed
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.metrics import read_progress
from relic_rl.runtime.resume import CHECKPOINTS

_STOPPED = (0, 130, 143)


def finished_costs(plan: Plan, out: Path, file: CostFile) -> dict[str, list[Cost]]:
    """By arm, what finished runs cost."""
    costs: dict[str, list[Cost]] = {}
    for run in plan.runs:
        result = read_result(out / run.folder)
        if result is not None and result.get("steps_per_second"):
            cost = Cost(float(result["steps_per_second"]), file.peak_bytes(run.name))
            costs.setdefault(run.arm.label, []).append(cost)
    return costs


class _Stop:
    """Asks jobs to stop once their time is over, or once a signal has come."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self.over = False

    @property
    def requested(self) -> bool:
        return self.over or self._interrupts.requested


def measure_costs(
    runs: Sequence[PlannedRun],
    jobs: Sequence[Job],
    slots: Sequence[Mapping[str, str]],
    seconds: float,
    interrupts: Interrupts,
) -> dict[str, list[Cost]]:
    """Begin some runs at the same time, in a folder that is thrown away, and stop them after a while.

    Args:
        runs: one for each slot, or fewer.
        jobs: theirs; the folder of the run is replaced.
        slots: see `LocalLauncher`.
        seconds: of training of each, from when the last of them has begun.
        interrupts: end it early.

    Returns:
        By arm; a run without an update in that time says nothing and is left out.

    Raises:
        BadInput: train refused its options.
        RunFailed: a run failed.
    """
    stop = _Stop(interrupts)
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="relic-rl-measure-") as folder:
        places = {run.name: Path(folder) / str(i) for i, run in enumerate(runs)}
        arms = {run.name: run.arm.label for run in runs}
        trials = [_elsewhere(job, places[job.name]) for job in jobs]
        waiting = set(places)
        began = 0.0
        for outcome in LocalLauncher(slots, stop).run(trials):
            waiting -= {name for name in waiting if (places[name] / CHECKPOINTS).is_dir()}
            if outcome is not None:
                waiting.discard(outcome.job.name)
                if outcome.exit_code not in _STOPPED:
                    kind = BadInput if outcome.exit_code == 2 else RunFailed
                    raise kind(f"{outcome.job.name}: {outcome.message}")
                if cost := _cost(places[outcome.job.name], outcome.peak_bytes):
                    costs.setdefault(arms[outcome.job.name], []).append(cost)
            began = began or (0.0 if waiting else time.monotonic())
            stop.over = bool(began) and time.monotonic() - began > seconds
    return costs


def _elsewhere(job: Job, place: Path) -> Job:
    """The job with another run directory."""
    arguments = list(job.arguments)
    arguments[arguments.index("--run-dir") + 1] = str(place)
    return job._replace(arguments=tuple(arguments), log=place.with_suffix(".log"))


def _cost(place: Path, peak_bytes: int | None) -> Cost | None:
    try:
        rows = read_progress(place / "progress.csv")
    except OSError:
        return None
    if not rows or not rows[-1]["updates"] or not rows[-1]["seconds"]:
        return None
    return Cost(rows[-1]["step"] / rows[-1]["seconds"], peak_bytes)
