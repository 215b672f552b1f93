"""Scores of runs as the arrays that statistics take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from relic_rl.comparison.runs import Run, normalized, normalizer
from relic_rl.comparison.statistics import Array


def names_of_arms(runs: Sequence[Run]) -> list[str]:
    """Labels of the arms, in the order of the runs."""
    return list(dict.fromkeys(run.arm for run in runs))


def names_of_envs(runs: Sequence[Run]) -> list[str]:
    """Environment ids, in the order of the runs."""
    return list(dict.fromkeys(run.env for run in runs))


def scores_of(runs: Sequence[Run], arm: str, env: str, *, normalize: bool = False) -> Array:
    """float64 [R]: mean evaluation score of each finished run, by seed; human-normalised if asked for."""
    chosen = sorted((run for run in runs if (run.arm, run.env) == (arm, env)), key=lambda run: run.seed)
    scores = [run.score for run in chosen if not math.isnan(run.score)]
    return np.array([normalized(env, score) if normalize else score for score in scores], dtype=np.float64)


class Matrix(NamedTuple):
    """Scores that every arm has, so that aggregates compare like with like.

    Attributes:
        envs: G environments that every arm has finished runs on.
        seeds: R seeds that every arm has finished on all of them.
        scores: of each arm, float64 [R, G].
    """

    envs: list[str]
    seeds: list[int]
    scores: dict[str, Array]


def complete_matrix(runs: Sequence[Run], *, normalize: bool) -> Matrix | None:
    """The games on which every arm has finished a run, with the seeds that are finished throughout.

    Args:
        runs: finished or not.
        normalize: human-normalised scores, of games only that have them; else raw ones of all.

    Returns:
        None if nothing is left.
    """
    done = {(r.arm, r.env, r.seed): r.score for r in runs if not math.isnan(r.score)}
    arms = names_of_arms(runs)
    seeds_of = {
        env: [{seed for a, e, seed in done if (a, e) == (arm, env)} for arm in arms]
        for env in names_of_envs(runs)
        if not normalize or normalizer(env)
    }
    envs = [env for env, by_arm in seeds_of.items() if all(by_arm)]
    if not envs:
        return None
    seeds = sorted(set.intersection(*(seeds for env in envs for seeds in seeds_of[env])))
    if not seeds:
        return None

    def score(arm: str, env: str, seed: int) -> float:
        raw = done[arm, env, seed]
        return normalized(env, raw) if normalize else raw

    scores = {arm: np.array([[score(arm, env, seed) for env in envs] for seed in seeds]) for arm in arms}
    return Matrix(envs, seeds, scores)
