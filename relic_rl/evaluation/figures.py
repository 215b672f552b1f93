"""Plots of evaluations; the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

_MOST_METRICS = 40  # a panel of more cannot be read


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """An empty figure, without pyplot: no global state, no display."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG.

    Raises:
        OSError: it cannot be written.
    """
    figure.savefig(path, dpi=120, metadata={"Software": None})


def metric_bars(encoders: Mapping[str, Mapping[str, tuple[float | None, float | None]]]) -> Figure:
    """A group of bars for each metric, a bar for each encoder.

    Args:
        encoders: by name of the encoder and of the metric (value, half the width of its interval or None); the first
            40 metrics are drawn.
    """
    metrics = list(dict.fromkeys(metric for values in encoders.values() for metric in values))[:_MOST_METRICS]
    figure = new_figure(height=1.2 + 0.18 * max(1, len(metrics)) * (len(encoders) + 1))
    panel = figure.subplots()
    thickness = 0.8 / max(1, len(encoders))
    for number, (name, values) in enumerate(encoders.items()):
        drawn = [(place, *values[metric]) for place, metric in enumerate(metrics) if metric in values]
        sound = [(place, value, width or 0.0) for place, value, width in drawn if value is not None]
        panel.barh(
            [place + (number - (len(encoders) - 1) / 2) * thickness for place, _, _ in sound],
            [value for _, value, _ in sound],
            thickness,
            xerr=[width for _, _, width in sound] if any(width for _, _, width in sound) else None,
            label=plain_text(name),
            color=f"C{number % 10}",
        )
    panel.set_yticks(range(len(metrics)), [plain_text(metric) for metric in metrics])
    panel.invert_yaxis()
    panel.grid(axis="x", alpha=0.3)
    if encoders:
        panel.legend(fontsize="small")
    return figure


def plain_text(text: str) -> str:
    """Text as matplotlib shows it whole: a dollar sign would begin a formula, an underscore hides a legend's entry."""
    return text.replace("$", r"\$").lstrip("_") or "-"
