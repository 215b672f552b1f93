"""Numbers as tables show them."""

from __future__ import annotations

import math
from collections.abc import Callable

from relic_rl.comparison.statistics import Interval


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on with separators; n/a for nan."""
    if math.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float) -> str:
    """A share in percent; n/a for nan."""
    return "n/a" if math.isnan(value) else f"{100 * value:,.0f} %" if abs(value) >= 10 else f"{100 * value:.1f} %"


def interval(estimate: Interval, form: Callable[[float], str] = number) -> str:
    """``1.2 [0.9, 1.5]``; ``1.2 [n/a]`` where there is none; ``1.2 [no spread]`` where all seeds came out alike."""
    value = form(estimate.value)
    if math.isnan(estimate.value):
        return value
    if estimate.low is None or estimate.high is None:
        return f"{value} [n/a]"
    if estimate.low == estimate.high:
        return f"{value} [no spread]"
    return f"{value} [{form(estimate.low)}, {form(estimate.high)}]"
