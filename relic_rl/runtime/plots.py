"""Learning curves from ``progress.csv`` files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from relic_rl.runtime.metrics import read_progress


def plot_curves(
    curves: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    title: str = "",
    lines: Mapping[str, float] | None = None,
) -> None:
    """Draw mean return against agent steps and against minutes.

    Args:
        curves: for each label the ``progress.csv`` of one or more runs (seeds); each run is a thin line of
            the label's color, and several are joined by their mean over the steps that all of them reached,
            a thick one.
        out: PNG file, replaced.
        title: above both panels.
        lines: horizontal lines by label, such as a human's score.

    Raises:
        ValueError: nothing to draw: no run has finished a game.
        OSError: a file is missing or cannot be written.
    """
    runs = {label: [_curve(path) for path in paths] for label, paths in curves.items()}
    if not any(len(run) for of_label in runs.values() for run in of_label):
        raise ValueError("no curve to draw: no run has a mean return yet")
    figure = Figure(figsize=(10, 4), layout="constrained")  # no pyplot: no global state, no display
    panels = figure.subplots(1, 2, sharey=True)
    for panel, axis, column in zip(panels, ("agent steps", "minutes of training"), (0, 1), strict=True):
        for number, (label, of_label) in enumerate(runs.items()):
            drawn = [run for run in of_label if len(run)]
            several = len(drawn) > 1
            for i, run in enumerate(drawn):
                panel.plot(
                    run[:, column],
                    run[:, 2],
                    color=f"C{number}",
                    linewidth=0.7 if several else 1.5,
                    alpha=0.5 if several else 1.0,
                    label=label if i == 0 and not several else None,
                )
            if several:
                grid = np.linspace(max(r[0, column] for r in drawn), min(r[-1, column] for r in drawn), 200)
                mean = np.mean([np.interp(grid, run[:, column], run[:, 2]) for run in drawn], axis=0)
                panel.plot(grid, mean, color=f"C{number}", linewidth=2, label=f"{label} (mean of {len(drawn)})")
        for label, height in (lines or {}).items():
            panel.axhline(height, color="0.4", linestyle="--", linewidth=1, label=label)
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean return of recent games")
    panels[0].legend(fontsize="small")
    if title:
        figure.suptitle(title)
    figure.savefig(out, dpi=120, metadata={"Software": None})  # the same curves give the same bytes


def _curve(path: Path) -> np.ndarray:
    """float64 [R, 3]: agent steps, minutes, mean return of the rows that have one."""
    rows = [row for row in read_progress(path) if np.isfinite(row["mean_return"])]
    return np.array([(row["step"], row["seconds"] / 60, row["mean_return"]) for row in rows]).reshape(-1, 3)
