"""``relic_rl.evaluate ldr``: the linear discriminant ratio on frozen features of held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from relic_rl.evaluate_kinds.ldr_options import Options
from relic_rl.evaluate_kinds.opening import open_evaluation
from relic_rl.evaluation.class_statistics import StreamingClassStatistics
from relic_rl.evaluation.features import FeatureSet
from relic_rl.evaluation.ldr import DiscriminantRatio, discriminant_ratio
from relic_rl.evaluation.report import markdown_table, show
from relic_rl.runtime.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 4096  # features in memory at a time


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such data, encoder or label, or no two classes with a ratio.
    """
    with open_evaluation("ldr", options, needs=("test",)) as evaluation:
        labels = evaluation.splits.label_names(options.label)
        found: dict[str, DiscriminantRatio] = {}
        for split in evaluation.splits.tests:
            features = evaluation.features(split)
            for label in labels:
                try:
                    found[f"{label}/{split}"] = _ratio(features, label, options)
                except ValueError as error:
                    if options.label != "all":
                        raise BadInput(f"label {label} of {split}: {error}") from error
                    evaluation.note(f"label {label} of {split} is left out: {error}")
        if not found:
            raise BadInput("--label all: no label has two classes with a ratio; give more images")
        metrics: dict[str, float | None] = {}
        for what, ratio in found.items():
            metrics[f"{what}/median"] = ratio.median
            metrics[f"{what}/lower quartile"] = ratio.lower_quartile
            metrics[f"{what}/upper quartile"] = ratio.upper_quartile
        details = {what: ratio._asdict() for what, ratio in found.items()}
        figures = {"distribution": _distributions({what: ratio.quantiles for what, ratio in found.items()})}
        return evaluation.finish(metrics, {"ratios": details}, table=_table(found), figures=figures)


def compare_figures(results: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """The distributions of all results side by side, a figure per label and split."""
    keys = dict.fromkeys(key for result in results for key in _ratios_of(result))
    figures = {}
    for key in keys:
        of_name: dict[str, list[list[float]]] = {}
        for result in results:
            quantiles = _ratios_of(result).get(key)
            if quantiles is not None:
                of_name.setdefault(result["name"], []).append(quantiles)
        figures[key.replace("/", "-")] = _distributions(
            {
                name + (f" ({len(several)} seeds)" if len(several) > 1 else ""): np.mean(several, axis=0).tolist()
                for name, several in of_name.items()
            },
            title=key,
        )
    return figures


def _ratio(features: FeatureSet, label: str, options: Options) -> DiscriminantRatio:
    """From class statistics in one pass: features may lie on disk."""
    statistics = StreamingClassStatistics(features.num_classes[label])
    values = features.labels[label]
    for start in range(0, len(features), _ROWS):
        statistics.update(features.features[start : start + _ROWS], values[start : start + _ROWS])
    return discriminant_ratio(statistics.result(), correct_bias=options.correct_bias, denominator=options.denominator)


def _table(found: Mapping[str, DiscriminantRatio]) -> str:
    header = [
        "ldr",
        "median",
        "lower quartile",
        "upper quartile",
        "mean",
        "classes",
        "pairs",
        "clipped at 0",
        "left out",
    ]
    rows = [
        [
            what,
            *(show(value) for value in (ratio.median, ratio.lower_quartile, ratio.upper_quartile, ratio.mean)),
            *(str(count) for count in (ratio.classes, ratio.pairs, ratio.clipped)),
            str(ratio.too_few + ratio.without_spread),
        ]
        for what, ratio in found.items()
    ]
    return markdown_table(header, rows)


def _distributions(quantiles: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """A box from quartile to quartile for each, its median, whiskers from 5 % to 95 %."""
    from relic_rl.evaluation.figures import new_figure, plain_text  # noqa: PLC0415 (late: matplotlib)

    figure = new_figure(height=1.4 + 0.4 * len(quantiles))
    panel = figure.subplots()
    boxes: list[dict[str, Any]] = [
        {"label": plain_text(name), "med": q[50], "q1": q[25], "q3": q[75], "whislo": q[5], "whishi": q[95]}
        for name, q in quantiles.items()
    ]
    panel.bxp(boxes, orientation="horizontal", showfliers=False)
    panel.invert_yaxis()
    if min(box["whislo"] for box in boxes) > 0:
        panel.set_xscale("log")
    panel.set_xlabel("linear discriminant ratio over ordered pairs of classes (5, 25, 50, 75 and 95 %)")
    panel.grid(axis="x", alpha=0.3)
    if title:
        panel.set_title(plain_text(title))
    return figure


def _ratios_of(result: Mapping[str, Any]) -> dict[str, list[float]]:
    """The quantiles that a result holds, by label and split; those that are unsound are passed over."""
    details = result.get("details")
    ratios = details.get("ratios") if isinstance(details, dict) else None
    found = {}
    for key, ratio in ratios.items() if isinstance(ratios, dict) else ():
        quantiles = ratio.get("quantiles") if isinstance(ratio, dict) else None
        if isinstance(quantiles, list) and len(quantiles) == 101 and all(type(q) in (int, float) for q in quantiles):
            found[key] = [float(q) for q in quantiles]
    return found
