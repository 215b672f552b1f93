"""How much of an agent's score is left under styles that it never trained on, over the runs of each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from envs.scores import random_score
from envs.style_shares import UNSEEN, Style, complete_mean, mean_shares, share_kept
from relic_rl.comparison.runs import Run
from relic_rl.comparison.statistics import Array, Interval, mean_interval
from relic_rl.comparison.styled_games import StyledScores, styled_scores

ALL = "all"
"""What `shares_kept` calls the mean over interventions."""
EVERY_GAME = "all games"
"""What `shares_kept` calls the mean over games."""


class Kept(NamedTuple):
    """What is left under one intervention.

    Attributes:
        arm: label.
        env: environment id, or `EVERY_GAME`.
        style: name and severity, as ``noise:3``; the name alone for the mean over severities, ``unseen`` for what the
            environment keeps from training, `ALL` for the mean over interventions.
        share: mean over seeds of the share kept; 1 = nothing lost.
        runs: number of runs in it; over all games number of seeds.
        left_out: runs, or seeds, without a share: a plain score is not above that of random play.
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
    that means are over the same styles in every arm. Of several games there is a mean, `EVERY_GAME`, for each style
    that was played in all of them: over games for each seed, then over the seeds that have a share on all of them.
    """
    table: dict[tuple[str, str, str], dict[int, float | None]] = {}
    for env, judged in judged_runs(runs).items():
        common = [style for style in judged[0][1] if all(style in styled for _, styled in judged)]
        for run, styled in judged:
            for style, share in _shares(env, {style: styled[style] for style in common}).items():
                table.setdefault((run.arm, env, style), {})[run.seed] = share
    table |= _over_games(table)
    return [_kept(key, list(by_seed.values())) for key, by_seed in table.items()]


def judged_runs(runs: Sequence[Run]) -> dict[str, list[tuple[Run, dict[Style, StyledScores]]]]:
    """By environment id the runs whose agents played in other styles, and what they scored."""
    judged: dict[str, list[tuple[Run, dict[Style, StyledScores]]]] = {}
    for run in runs:
        if styled := styled_scores(run):
            judged.setdefault(run.env, []).append((run, styled))
    return judged


def _shares(env: str, styled: Mapping[Style, StyledScores]) -> dict[str, float | None]:
    """Of one run, by the name that `Kept.style` explains."""
    random = random_score(env)
    shares = {
        style: share_kept(float(np.mean(scores.shifted)), float(np.mean(scores.plain)), random)
        for style, scores in styled.items()
    }
    return {str(style): share for style, share in shares.items()} | mean_shares(shares)


def _over_games(
    table: Mapping[tuple[str, str, str], Mapping[int, float | None]],
) -> dict[tuple[str, str, str], dict[int, float | None]]:
    envs = list(dict.fromkeys(env for _, env, _ in table))
    means: dict[tuple[str, str, str], dict[int, float | None]] = {}
    for arm, style in dict.fromkeys((arm, style) for arm, _, style in table):
        of_games = [table.get((arm, env, style), {}) for env in envs]
        seeds = set.intersection(*(set(by_seed) for by_seed in of_games))
        if len(envs) > 1 and seeds:
            by_seed = {seed: [game[seed] for game in of_games] for seed in sorted(seeds)}
            means[arm, EVERY_GAME, style] = {seed: complete_mean(shares) for seed, shares in by_seed.items()}
    return means


def _kept(key: tuple[str, str, str], values: Sequence[float | None]) -> Kept:
    known = np.array([value for value in values if value is not None])
    share = mean_interval(known) if len(known) else Interval(math.nan, None, None)
    return Kept(*key, share, len(known), len(values) - len(known))


class StyledReturns(NamedTuple):
    """Mean scores of an arm's runs in the styles of training and in those that the environment keeps from it.

    Attributes:
        arm: label.
        env: environment id.
        trained: mean over seeds in the styles of training.
        unseen: in the others.
        lost: of the difference ``trained - unseen``, seed by seed.
        by_seed: float64 [R, 2]: of each run the two means.
    """

    arm: str
    env: str
    trained: Interval
    unseen: Interval
    lost: Interval
    by_seed: Array


def styled_returns(runs: Sequence[Run]) -> list[StyledReturns]:
    """Of every arm on every environment whose unseen styles its agents played in."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for env, judged in judged_runs(runs).items():
        for run, styled in judged:
            if scores := styled.get(Style(UNSEEN, 0)):
                means = (float(np.mean(scores.plain)), float(np.mean(scores.shifted)))
                found.setdefault((run.arm, env), []).append(means)
    returns = []
    for (arm, env), means_of_runs in found.items():
        values = np.array(means_of_runs)
        trained, unseen = values.T
        intervals = (mean_interval(trained), mean_interval(unseen), mean_interval(trained - unseen))
        returns.append(StyledReturns(arm, env, *intervals, values))
    return returns


def random_known(env: str) -> bool:
    """Whether shares of a game are above random play rather than above 0."""
    return random_score(env) is not None


def names_of_styles(kept: Sequence[Kept]) -> list[str]:
    """The interventions without their severities, then the environment's unseen styles, then `ALL`; those there are."""
    last = (UNSEEN, ALL)
    found = dict.fromkeys(row.style for row in kept if ":" not in row.style)
    return [name for name in found if name not in last] + [name for name in last if name in found]
