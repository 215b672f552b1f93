"""How much of an agent's score is left under interventions on style that it never trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from envs.scores import reference_scores
from relic_rl.comparison.runs import Run, normalizer, styled_games
from relic_rl.comparison.statistics import Interval, mean_interval

PLAIN = "none"
"""What scores.csv calls the game without an intervention."""


class Kept(NamedTuple):
    """What is left under one intervention.

    Attributes:
        arm: label.
        env: environment id.
        style: name and severity, as ``noise:3``; the name alone where there are no severities.
        share: mean over runs of the share kept; 1 = nothing lost.
        runs: number of runs in it.
        left_out: runs whose plain score is not above that of random play, which have no share.
    """

    arm: str
    env: str
    style: str
    share: Interval
    runs: int
    left_out: int


def share_kept(shifted: float, plain: float, random: float) -> float:
    """(shifted - random) / (plain - random); nan unless ``plain`` is above ``random``.

    Args:
        shifted: mean score under the intervention.
        plain: mean score without one.
        random: mean score of random play; 0 where it is not known.
    """
    return (shifted - random) / (plain - random) if plain > random else math.nan


def kept_by_run(run: Run) -> dict[str, float]:
    """The share kept under each intervention that a run was judged under; nan where there is none."""
    games: dict[str, list[float]] = {}
    for game in styled_games(run):
        name = f"{game.style}:{game.severity}" if game.severity else game.style
        games.setdefault(name, []).append(game.score)
    plain = games.pop(PLAIN, None)
    if plain is None:
        return {}
    rom = normalizer(run.env)
    random = 0.0 if rom is None else reference_scores()[rom].random
    return {style: share_kept(float(np.mean(scores)), float(np.mean(plain)), random) for style, scores in games.items()}


def shares_kept(runs: Sequence[Run]) -> list[Kept]:
    """The share kept of every arm, game and intervention, and under ``all`` the mean over interventions."""
    table: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        shares = kept_by_run(run)
        if shares:
            shares |= {"all": float(np.mean(list(shares.values())))}
        for style, share in shares.items():
            table.setdefault((run.arm, run.env, style), []).append(share)
    return [_kept(key, values) for key, values in table.items()]


def _kept(key: tuple[str, str, str], values: Sequence[float]) -> Kept:
    known = np.array([value for value in values if not math.isnan(value)])
    share = mean_interval(known) if len(known) else Interval(math.nan, None, None)
    return Kept(*key, share, len(known), len(values) - len(known))


def random_known(env: str) -> bool:
    """Whether shares of a game are above random play rather than above 0."""
    return normalizer(env) is not None


def styles_of(kept: Sequence[Kept]) -> Mapping[str, None]:
    """The interventions, in order, ``all`` last."""
    names = dict.fromkeys(row.style for row in kept if row.style != "all")
    return names | {"all": None}
