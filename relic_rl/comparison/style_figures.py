"""The report's pictures of style shift, as PNG bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from relic_rl.comparison.figures import png
from relic_rl.comparison.statistics import Interval
from relic_rl.comparison.style_shift import Kept, StyledReturns, names_of_styles
from relic_rl.comparison.suites import game_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_returns(returns: Sequence[StyledReturns], random: Mapping[str, float | None]) -> bytes:
    """A panel for each environment, a row for each arm: scores in the styles of training and in unseen ones.

    Args:
        returns: of every arm and environment.
        random: mean score of random play by environment id; None where it is not known.
    """
    envs = list(dict.fromkeys(row.env for row in returns))
    arms = list(dict.fromkeys(row.arm for row in returns))
    figure = Figure(figsize=(7 * len(envs), 1.2 + 0.5 * len(arms)), layout="constrained")
    panels = figure.subplots(1, len(envs), sharey=True, squeeze=False)[0]
    for panel, env in zip(panels, envs, strict=True):
        for row in (row for row in returns if row.env == env):
            number = arms.index(row.arm)
            for shift, shown, values, filled in (
                (-0.14, row.trained, row.by_seed[:, 0], True),
                (0.14, row.unseen, row.by_seed[:, 1], False),
            ):
                color, face = f"C{number % 10}", f"C{number % 10}" if filled else "white"
                _whisker(panel, shown, number + shift, color)
                panel.plot(values, [number + shift] * len(values), "o", color=color, markersize=3, alpha=0.6)
                panel.plot([shown.value], [number + shift], "o", color=color, markerfacecolor=face, markersize=8)
        every = [float(value) for row in returns if row.env == env for value in row.by_seed.ravel()]
        level = random[env]
        if level is not None:
            panel.axvline(level, color="0.4", linestyle=":", linewidth=1)
            every.append(level)
        _limit(panel.set_xlim, every)
        panel.set_title(game_label(env), fontsize="medium")
        panel.set_yticks(range(len(arms)), arms)
        panel.set_xlabel("mean score of whole games")
        panel.grid(alpha=0.3, axis="x")
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    return png(figure)


def draw_kept(kept: Sequence[Kept]) -> bytes:
    """The share kept under each intervention, a point with its interval for each arm.

    Args:
        kept: of one game, or of the mean over games.
    """
    arms = list(dict.fromkeys(row.arm for row in kept))
    styles = names_of_styles(kept)
    figure = Figure(figsize=(max(6.0, 0.22 * len(styles) * len(arms) + 1.5), 4), layout="constrained")
    panel = figure.subplots()
    width = 0.7 / len(arms)
    shown = [0.0, 1.0]
    for number, arm in enumerate(arms):
        color = f"C{number % 10}"
        for row in (row for row in kept if row.arm == arm and row.style in styles):
            place = styles.index(row.style) + (number - (len(arms) - 1) / 2) * width
            if math.isnan(row.share.value):
                panel.text(place, 0.02, "n/a", color=color, fontsize=7, rotation=90, ha="center", va="bottom")
                continue
            shown.append(row.share.value)
            panel.plot([place], [row.share.value], "o", color=color, markersize=5)
            if row.share.low is not None and row.share.high is not None:
                panel.plot([place] * 2, [row.share.low, row.share.high], color=color, linewidth=1.5)
        panel.plot([], [], "o-", color=color, label=arm)
    _limit(panel.set_ylim, shown)
    for height, line in ((1.0, "--"), (0.0, "-")):
        panel.axhline(height, color="0.4", linestyle=line, linewidth=1)
    for place in range(1, len(styles)):
        panel.axvline(place - 0.5, color="0.85", linewidth=0.8)
    panel.set_xlim(-0.5, len(styles) - 0.5)
    panel.set_xticks(range(len(styles)), styles, rotation=30, ha="right")
    panel.set_ylabel("share of the plain score kept")
    figure.legend(loc="outside upper center", ncols=min(4, len(arms)), fontsize="small")
    return png(figure)


def _whisker(panel: Axes, shown: Interval, height: float, color: str) -> None:
    """An interval, if there is one."""
    if shown.low is not None and shown.high is not None:
        panel.plot([shown.low, shown.high], [height] * 2, color=color, linewidth=1.5)


def _limit(set_limits: Callable[[float, float], object], values: Sequence[float]) -> None:
    """Show all values and some room for intervals, which of a few seeds may be many times as wide."""
    low, high = min(values), max(values)
    room = 0.3 * (high - low) or 1.0
    set_limits(low - room, high + room)
