"""Aggregate scores over games and seeds, with stratified bootstrap intervals.

Definitions: Agarwal et al., 2021 (https://arxiv.org/abs/2108.13264), as in its library rliable. Scores are arrays
[R, G] (R: runs, one a seed; G: games), each the mean over a run's games of evaluation. Every metric takes [..., R, G],
so that a bootstrap is one call. Departures from rliable: a single run has no interval (rliable gives one of width
zero), and intervals draw from a generator of their own, so that the same scores give the same intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
RESAMPLES = 10_000
_SEED = 0


class Interval(NamedTuple):
    """An estimate and its 95 % interval, None where a single run allows none."""

    value: float
    low: float | None
    high: float | None

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None


def interquartile_mean(scores: Array) -> Array:
    """Mean of the middle half of all runs of all games: a quarter is cut at either end, rounded down."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(-1))


def median(scores: Array) -> Array:
    """Median over games of the mean over runs."""
    return np.asarray(np.median(scores.mean(-2), axis=-1))


def mean(scores: Array) -> Array:
    """Mean over games and runs."""
    return np.asarray(scores.mean((-2, -1)))


def optimality_gap(scores: Array, target: float = 1.0) -> Array:
    """How far scores fall short of ``target`` on average: mean of max(target - score, 0)."""
    return np.asarray(np.maximum(target - scores, 0).mean((-2, -1)))


def capped_mean(scores: Array, cap: float = 1.0) -> Array:
    """Mean over games of min(score of the game, cap), a game's score being its mean over runs.

    Source: Mitrovic et al., 2021, table of Atari results ("capped mean").
    """
    return np.asarray(np.minimum(scores.mean(-2), cap).mean(-1))


def superhuman_games(scores: Array) -> Array:
    """Number of games whose mean over runs is above 1, the human's score."""
    return np.asarray((scores.mean(-2) > 1).sum(-1).astype(np.float64))


def probability_of_improvement(x: Array, y: Array) -> Array:
    """P(a run of X scores more than one of Y on the same game), ties counting half; mean over games."""
    above = (x[..., :, None, :] > y[..., None, :, :]) + 0.5 * (x[..., :, None, :] == y[..., None, :, :])
    return np.asarray(above.mean((-3, -2, -1)))


def performance_profile(scores: Array, thresholds: Array) -> Array:
    """Share of runs, over all games, that score more than each threshold; [..., T]."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    return np.asarray((flat[..., None, :] > thresholds[:, None]).mean(-1))


def bootstrap(metric: Callable[..., Array], *samples: Array, resamples: int = RESAMPLES) -> Interval:
    """A metric of one or more samples with the percentile interval of the stratified bootstrap.

    Within each game runs are drawn anew with replacement, each sample by itself.

    Args:
        metric: takes as many arrays [..., R, G] as there are samples.
        *samples: scores [R, G], the runs' number may differ.
        resamples: number of draws.
    """
    value = float(metric(*samples))
    low_high = bootstrap_band(metric, *samples, resamples=resamples)
    return Interval(value, None, None) if low_high is None else Interval(value, *(float(bound) for bound in low_high))


def bootstrap_band(
    metric: Callable[..., Array], *samples: Array, resamples: int = RESAMPLES
) -> tuple[Array, Array] | None:
    """Ends of the percentile interval of a metric of any shape; None where a sample is of a single run."""
    if any(len(sample) < 2 for sample in samples):
        return None
    rng = np.random.default_rng(_SEED)
    drawn = []
    for _ in range(0, resamples, _CHUNK):  # bounded memory
        resampled = []
        for sample in samples:
            rows = rng.integers(len(sample), size=(min(_CHUNK, resamples), *sample.shape))
            resampled.append(np.take_along_axis(sample[None], rows, axis=1))
        drawn.append(metric(*resampled))
    low, high = np.quantile(np.concatenate(drawn)[:resamples], [0.025, 0.975], axis=0)
    return low, high


_CHUNK = 500


def mean_interval(values: Array) -> Interval:
    """Mean over runs with Student's t interval, which unlike the bootstrap is honest with a handful of runs.

    Args:
        values: [R], one for each run.
    """
    value = float(values.mean())
    if len(values) < 2:
        return Interval(value, None, None)
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Interval(value, value - half, value + half)


def difference_interval(x: Array, y: Array) -> Interval:
    """Mean of X minus mean of Y with Welch's t interval.

    Args:
        x: [R], one for each run.
        y: [S].
    """
    value = float(x.mean() - y.mean())
    if len(x) < 2 or len(y) < 2:
        return Interval(value, None, None)
    a, b = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    if a + b == 0:
        return Interval(value, value, value)
    freedom = (a + b) ** 2 / (a**2 / (len(x) - 1) + b**2 / (len(y) - 1))
    half = float(stats.t.ppf(0.975, freedom) * math.sqrt(a + b))
    return Interval(value, value - half, value + half)


def detectable_effect(runs: int, power: float = 0.8, level: float = 0.05) -> float:
    """The true difference between two arms, in standard deviations over seeds, that a t test would find.

    Args:
        runs: of each arm, at least 2.
        power: probability of finding it.
        level: two-sided significance level.

    Returns:
        Cohen's d for which the two-sample t test on ``runs`` runs a side has this power.
    """
    freedom = 2 * runs - 2
    critical = stats.t.ppf(1 - level / 2, freedom)

    def missing(effect: float) -> float:
        shift = effect * math.sqrt(runs / 2)
        # In the right direction: the chance of the wrong one is nil at any power worth having.
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return float(optimize.brentq(missing, 0.01, 40.0))


def least_p_value(runs: int) -> float:
    """The smallest two-sided p-value that an exact rank test can give: every run of one arm above all of the other."""
    return 2 / math.comb(2 * runs, runs)
