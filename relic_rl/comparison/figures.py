"""The report's pictures, as PNG bytes; the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from relic_rl.comparison.curves import Curve
from relic_rl.comparison.scores import Matrix
from relic_rl.comparison.statistics import Array, Interval, bootstrap_band, performance_profile
from relic_rl.comparison.suites import game_label

_COLUMNS = 4


def draw_curves(curves: Sequence[Curve], lines: Mapping[str, Mapping[str, float]]) -> bytes:
    """A panel for each game: a line for each arm, its interval a band, single seeds thin.

    Args:
        curves: of every arm and game.
        lines: horizontal lines by label, for each environment id; those far from its curves are left out.
    """
    envs = list(dict.fromkeys(curve.env for curve in curves))
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    columns = min(_COLUMNS, len(envs))
    rows = -(-len(envs) // columns)
    figure = Figure(figsize=(max(6.0, 4 * columns), 3.2 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(envs) :]:
        panel.set_axis_off()
    for panel, env in zip(panels, envs, strict=False):
        low, high = np.inf, -np.inf
        for curve in (c for c in curves if c.env == env):
            color = f"C{arms.index(curve.arm)}"
            marker = "o" if len(curve.steps) == 1 else None  # of one point there is no line to see
            means = [v.value for v in curve.values]
            panel.plot(curve.steps, means, marker=marker, color=color, linewidth=2, label=curve.arm)
            if curve.seeds > 1:
                for run in curve.runs:
                    panel.plot(curve.steps, run, marker=marker and ".", color=color, linewidth=0.5, alpha=0.4)
                band = ([getattr(v, end) for v in curve.values] for end in ("low", "high"))
                panel.fill_between(curve.steps, *band, color=color, alpha=0.12, linewidth=0)
            drawn = curve.runs[np.isfinite(curve.runs)]
            low, high = min(low, drawn.min()), max(high, drawn.max())
        # Of a few seeds intervals are so wide that they would flatten the curves: what they exceed is cut off.
        room = 0.35 * (high - low) or 1.0
        ends = [low - room, high + room]
        for label, height in lines.get(env, {}).items():
            if not low - (high - low) <= height <= high + (high - low):
                continue  # so far off that it would flatten the curves
            panel.axhline(height, color="0.4", linestyle=":" if label == "random" else "--", linewidth=1, label=label)
            ends = [min(ends[0], height - 0.05 * room), max(ends[1], height + 0.05 * room)]
        panel.set_ylim(*ends)
        panel.set_title(game_label(env), fontsize="medium")
        panel.grid(alpha=0.3)
        panel.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        panel.set_xlabel("agent steps")
        panel.set_ylabel("mean return")
    panels[0].legend(fontsize="small")
    return png(figure)


def draw_profile(matrix: Matrix) -> bytes:
    """Performance profile: share of runs above each human-normalised score, with bootstrap bands."""
    every = np.concatenate([scores.ravel() for scores in matrix.scores.values()])
    thresholds = np.linspace(min(0.0, float(every.min())), max(1.0, float(np.quantile(every, 0.98))) * 1.02, 101)
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    for number, (arm, scores) in enumerate(matrix.scores.items()):

        def profile(sample: Array) -> Array:
            return performance_profile(sample, thresholds)

        panel.plot(thresholds, profile(scores), color=f"C{number}", label=arm, linewidth=2)
        band = bootstrap_band(profile, scores, resamples=1_000)
        if band is not None:
            panel.fill_between(thresholds, *band, color=f"C{number}", alpha=0.15, linewidth=0)
    panel.set_xlabel("human-normalised score t")
    panel.set_ylabel("share of runs above t")
    panel.set_ylim(-0.02, 1.02)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    return png(figure)


def draw_intervals(metrics: Mapping[str, Mapping[str, Interval]]) -> bytes:
    """A panel for each aggregate: a bar for each arm's interval, a mark for its estimate.

    Args:
        metrics: the interval of each arm, by metric.
    """
    figure = Figure(figsize=(3 * len(metrics), 0.6 + 0.45 * len(next(iter(metrics.values())))), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, (metric, arms) in zip(panels, metrics.items(), strict=True):
        for row, interval in enumerate(arms.values()):
            if interval.low is not None and interval.high is not None:
                panel.barh(row, interval.high - interval.low, left=interval.low, height=0.5, color=f"C{row}", alpha=0.5)
            panel.plot([interval.value] * 2, [row - 0.25, row + 0.25], color=f"C{row}", linewidth=2.5)
        panel.use_sticky_edges = False
        panel.margins(x=0.1)
        panel.set_title(metric, fontsize="medium")
        panel.set_yticks(range(len(arms)), list(arms))
        panel.grid(alpha=0.3, axis="x")
    panels[0].invert_yaxis()
    return png(figure)


def png(figure: Figure) -> bytes:
    """A figure's bytes, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
