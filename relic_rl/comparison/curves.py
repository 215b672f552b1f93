"""Learning curves: the mean over seeds against agent steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from relic_rl.comparison.runs import Run
from relic_rl.comparison.statistics import Array, Interval, mean_interval

POINTS = 100


class Curve(NamedTuple):
    """Mean return of recent training games of one arm on one game.

    Attributes:
        arm: its label.
        env: environment id.
        steps: int64 [P], agent steps that every seed has reached.
        values: P means over seeds, each with its interval.
        seeds: number of runs.
        runs: float64 [R, P], each run's.
    """

    arm: str
    env: str
    steps: Array
    values: list[Interval]
    seeds: int
    runs: Array


def learning_curve(runs: Sequence[Run], points: int = POINTS) -> Curve | None:
    """The curve of the runs of one arm on one game, over the steps that all of them have; None if there are none.

    Each run's mean return is interpolated linearly between the rows of its progress.csv.

    Args:
        runs: at least one.
        points: number of steps, evenly spaced.
    """
    traces = []
    for run in runs:
        rows = [(row["step"], row["mean_return"]) for row in run.progress() if np.isfinite(row["mean_return"])]
        if rows:
            traces.append(np.array(rows))
    if not traces:
        return None
    first, last = max(trace[0, 0] for trace in traces), min(trace[-1, 0] for trace in traces)
    steps = np.linspace(first, last, points).round() if first < last else np.array([last])
    values = np.stack([np.interp(steps, trace[:, 0], trace[:, 1]) for trace in traces])
    means = [mean_interval(column) for column in values.T]
    return Curve(runs[0].arm, runs[0].env, steps, means, len(traces), values)
