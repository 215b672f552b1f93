"""How much of an agent's score is left under styles that it never trained on, over the runs of each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from envs.scores import random_score
from envs.style_shares import UNSEEN, Style, mean_shares, share_kept
from relic_rl.comparison.runs import Run
from relic_rl.comparison.statistics import Interval, mean_interval
from relic_rl.comparison.styled_games import StyledScores, styled_scores

ALL = "all"
"""What `shares_kept` calls the mean over interventions."""


class Kept(NamedTuple):
    """What is left under one intervention.

    Attributes:
        arm: label.
        env: environment id.
        style: name and severity, as ``noise:3``; the name alone for the mean over severities, ``unseen`` for what the
            environment keeps from training, `ALL` for the mean over interventions.
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


def shares_kept(runs: Sequence[Run]) -> list[Kept]:
    """The share kept of every arm and game in each style, and the means of `envs.style_shares.mean_shares`.

    Runs that nobody judged are passed over; of the others on a game the styles count that all of them played in, so
    that means are over the same styles in every arm.
    """
    table: dict[tuple[str, str, str], list[float | None]] = {}
    for env in dict.fromkeys(run.env for run in runs):
        judged = [(run.arm, styled) for run in runs if run.env == env and (styled := styled_scores(run))]
        common = [style for style in judged[0][1] if all(style in styled for _, styled in judged)] if judged else []
        for arm, styled in judged:
            for style, share in _shares(env, {style: styled[style] for style in common}).items():
                table.setdefault((arm, env, style), []).append(share)
    return [_kept(key, values) for key, values in table.items()]


def _shares(env: str, styled: Mapping[Style, StyledScores]) -> dict[str, float | None]:
    """Of one run, by the name that `Kept.style` explains."""
    random = random_score(env)
    shares = {
        style: share_kept(float(np.mean(scores.shifted)), float(np.mean(scores.plain)), random)
        for style, scores in styled.items()
    }
    return {str(style): share for style, share in shares.items()} | mean_shares(shares)


def _kept(key: tuple[str, str, str], values: Sequence[float | None]) -> Kept:
    known = np.array([value for value in values if value is not None])
    share = mean_interval(known) if len(known) else Interval(math.nan, None, None)
    return Kept(*key, share, len(known), len(values) - len(known))


def random_known(env: str) -> bool:
    """Whether shares of a game are above random play rather than above 0."""
    return random_score(env) is not None


def names_of_styles(kept: Sequence[Kept]) -> list[str]:
    """The interventions without their severities, then the environment's unseen styles, then `ALL`; those there are."""
    last = (UNSEEN, ALL)
    found = dict.fromkeys(row.style for row in kept if ":" not in row.style)
    return [name for name in found if name not in last] + [name for name in last if name in found]
