"""Several results of one kind as one table: seeds of one encoder become a mean and an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy.stats import t as student

from relic_rl.evaluation.report import markdown_table, show


class Estimate(NamedTuple):
    """A number over seeds.

    Attributes:
        mean: over the seeds that have it; None if none has.
        half_width: of its 95 % interval; None for fewer than two seeds.
        seeds: how many have it.
    """

    mean: float | None
    half_width: float | None
    seeds: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of a sample, by Student's t: t(0.975, n - 1) s / sqrt(n).

    Args:
        values: one per seed; that the seeds are a sample of a normal distribution is assumed.
    """
    count = len(values)
    if not count:
        return Estimate(None, None, 0)
    mean = statistics.fmean(values)
    if count < 2:
        return Estimate(mean, None, count)
    width = float(student.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return Estimate(mean, width, count)


def join_results(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """By encoder's name and metric, over its results; both in the order in which they first appear.

    Raises:
        ValueError: results that cannot stand in one table: of other kinds, other images, or one encoder twice.
    """
    kinds = {result["kind"] for result in results}
    if len(kinds) > 1:
        raise ValueError(f"--compare: results of different kinds ({', '.join(sorted(kinds))}): join those of one")
    settings = [_settings(result) for result in results]
    names = sorted({name for setting in settings for name in setting})
    differing = [name for name in names if any(setting.get(name) != settings[0].get(name) for setting in settings)]
    if differing:
        raise ValueError(
            f"--compare: the results were measured with different {', '.join(differing)}: measure all alike"
        )
    images = {result["data"].get("fingerprint") for result in results}
    if len(images) > 1:
        raise ValueError("--compare: the results are of different images: evaluate all encoders on the same data")
    hashes = [(result["name"], result["encoder"].get("content_hash"), _seed(result)) for result in results]
    if len(set(hashes)) < len(hashes):
        name = next(one[0] for one in hashes if hashes.count(one) > 1)
        raise ValueError(f"--compare: two results of {name} are of the same weights and seed: give each once")
    encoders = dict.fromkeys(result["name"] for result in results)
    metrics = dict.fromkeys(metric for result in results for metric in result["metrics"])
    joined = {}
    for name in encoders:
        of_name = [result["metrics"] for result in results if result["name"] == name]
        joined[name] = {
            metric: estimate([found[metric] for found in of_name if found.get(metric) is not None])
            for metric in metrics
        }
    return joined


def joined_table(kind: str, joined: Mapping[str, Mapping[str, Estimate]], seeds: Mapping[str, int]) -> str:
    """Markdown: a row per metric, a column per encoder, and how many seeds each is the mean of."""
    metrics = list(dict.fromkeys(metric for values in joined.values() for metric in values))
    rows = [[metric, *(_shown(values[metric]) for values in joined.values())] for metric in metrics]
    rows.insert(0, ["seeds", *(str(seeds[name]) for name in joined)])
    table = markdown_table([kind, *joined], rows)
    return f"{table}\nMean ± half the 95 % interval over seeds (Student's t); n/a: one seed has no interval.\n"


def _shown(value: Estimate) -> str:
    if value.seeds == 1:
        return f"{show(value.mean)} ± n/a"
    return show(value.mean, value.half_width)


_JUDGED = ("encoder", "architecture", "critic", "name", "seed", "image_size", "data", "policies")
_MACHINE = ("out", "device", "threads", "workers", "batch_size", "cache_features")
_FREE = frozenset((*_JUDGED, *_MACHINE))
"""Options in which results of one table may differ: what is judged (images are told by their hash) and where."""


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    options = result.get("options")
    return {name: value for name, value in options.items() if name not in _FREE} if isinstance(options, dict) else {}


def _seed(result: Mapping[str, Any]) -> Any:
    options = result.get("options")
    return options.get("seed") if isinstance(options, dict) else None
