"""Plots of whole games: scores, shares kept in each style, and what the styles look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from envs.style_shares import UNSEEN, Style
from relic_rl.evaluation.figures import new_figure
from relic_rl.evaluation.style_shift import Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_scores(scores: Sequence[float], title: str) -> Figure:
    """How many games ended with which score, and their mean."""
    figure = new_figure(7, 3.5)
    panel = figure.subplots()
    distinct = len(set(scores))
    panel.hist(scores, bins=min(30, max(5, distinct)), color="C0", alpha=0.8)
    panel.axvline(float(np.mean(scores)), color="0.2", linestyle="--", label=f"mean {np.mean(scores):.4g}")
    panel.set_xlabel("score of a whole game")
    panel.set_ylabel("games")
    panel.set_title(title, fontsize="medium")
    panel.legend(fontsize="small")
    return figure


def draw_shares(shares: Mapping[Style, Share], title: str) -> Figure:
    """The share of the plain score kept: a line over severities for each intervention, one level for unseen styles."""
    figure = new_figure(8, 4.5)
    panel = figure.subplots()
    interventions = dict.fromkeys(style.name for style in shares if style.name != UNSEEN)
    for number, name in enumerate(interventions):
        points = sorted((style.severity, share.value) for style, share in shares.items() if style.name == name)
        known = [(severity, value) for severity, value in points if value is not None]
        panel.plot(*zip(*known, strict=True) if known else ([], []), "o-", color=f"C{number % 10}", label=name)
    for style, share in shares.items():
        if style.name == UNSEEN and share.value is not None:
            panel.axhline(share.value, color="0.3", linestyle=":", label="unseen styles of the environment")
    panel.axhline(1, color="0.6", linewidth=0.8)
    panel.axhline(0, color="0.6", linewidth=0.8)
    panel.set_xlim(0.8, 5.2)
    panel.set_xticks(range(1, 6))
    panel.set_xlabel("severity")
    panel.set_ylabel("share of the plain score kept")
    panel.set_title(title, fontsize="medium")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_styles(rows: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Screens side by side, a row for each style.

    Args:
        rows: by label uint8 [K, H, W], or RGB [K, H, W, 3], at least one screen in each row.
    """
    columns = max(len(screens) for screens in rows.values())
    figure = new_figure(1.3 * columns + 1.2, 1.35 * len(rows))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, screens) in zip(panels, rows.items(), strict=True):
        for panel, screen in zip(line, screens, strict=False):
            panel.imshow(screen, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for panel in line:
            panel.set_xticks([])
            panel.set_yticks([])
        for panel in line[len(screens) :]:
            panel.axis("off")
        line[0].set_ylabel(label, fontsize="small")
    return figure
