"""The report's plain statement of what its number of seeds can and cannot show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relic_rl.comparison.document import Block, Bullets, Heading
from relic_rl.comparison.numerals import number
from relic_rl.comparison.runs import Run
from relic_rl.comparison.scores import names_of_arms, names_of_envs, scores_of
from relic_rl.comparison.statistics import detectable_effect, least_p_value
from relic_rl.comparison.suites import game_label

FEW = 5


def blocks(runs: Sequence[Run]) -> list[Block]:
    """The section."""
    counts = [len(scores_of(runs, arm, env)) for arm in names_of_arms(runs) for env in names_of_envs(runs)]
    least = min(counts)
    lines = [statement(least)]
    spreads = _spreads(runs) if least > 1 else {}
    if spreads:
        effect = detectable_effect(least)
        told = ", ".join(f"{game}: {number(effect * spread)}" for game, spread in spreads.items())
        lines.append(f"With the spread between seeds seen here that is, in points of score: {told}.")
    if len(set(counts)) > 1:
        lines.append("The number of seeds differs between arms and games; the least is meant.")
    lines.append(
        "Games are a fixed set here, not a sample: intervals say what other seeds would give on these games, not "
        "what other games would."
    )
    return [Heading("What this number of seeds can and cannot show"), Bullets(lines)]


def statement(seeds: int) -> str:
    """What that many seeds of each arm can show on one game.

    Args:
        seeds: of every arm, at least 0.
    """
    if seeds == 0:
        return "Some arm has no finished run on some game: nothing can be said about it yet."
    if seeds == 1:
        return (
            "One seed of each arm: scores differ by luck alone, by how much cannot be told, and no difference "
            "between arms is a result. Intervals are n/a."
        )
    effect = detectable_effect(seeds)
    text = (
        f"With {seeds} seeds of each arm a t test on one game finds four out of five true differences of "
        f"{effect:.1f} standard deviations between seeds; smaller ones it mostly misses. "
    )
    p = least_p_value(seeds)
    if p > 0.05:
        text += (
            "An exact rank test cannot reach 5 % at all: even if every run of one arm beats every run of the other, "
            f"p = {p:.2g}. "
        )
    if seeds < FEW:
        text += (
            "Bootstrap intervals of so few seeds are too narrow. A difference between these arms is a hint, not a "
            "result."
        )
    else:
        text += "Not finding a difference does not show that there is none."
    return text


def _spreads(runs: Sequence[Run]) -> dict[str, float]:
    """Standard deviation over seeds on each game, pooled over arms."""
    spreads = {}
    for env in names_of_envs(runs):
        variances = [
            float(scores.var(ddof=1)) for arm in names_of_arms(runs) if len(scores := scores_of(runs, arm, env)) > 1
        ]
        if variances:
            spreads[game_label(env)] = float(np.sqrt(np.mean(variances)))
    return spreads
