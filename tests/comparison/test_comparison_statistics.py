"""Aggregates and intervals against worked examples and against rliable."""

import itertools

import numpy as np
import pytest
from scipy import stats

from relic_rl.comparison import statistics as own

RNG = np.random.default_rng(3)
SCORES = RNG.normal(0.6, 0.5, size=(5, 7))
OTHER = RNG.normal(0.4, 0.5, size=(4, 7))


def test_worked_by_hand() -> None:
    scores = np.array([[0.0, 4.0], [2.0, 6.0]])  # two runs of two games
    assert own.interquartile_mean(scores) == 3.0  # of 0 2 4 6 the middle two
    assert own.median(scores) == 3.0  # of 1 and 5
    assert own.mean(scores) == 3.0
    assert own.optimality_gap(scores) == 0.25  # 1 - 0, and nothing else is short of 1
    assert own.capped_mean(scores) == 1.0  # both games' means are above 1
    assert own.capped_mean(np.array([[0.0, 4.0], [1.0, 6.0]])) == 0.75  # min(0.5, 1) and min(5, 1)
    assert own.superhuman_games(np.array([[0.0, 4.0], [1.0, 6.0]])) == 1
    assert own.performance_profile(scores, np.array([-1.0, 0.0, 3.0, 6.0])).tolist() == [1.0, 0.75, 0.5, 0.0]


def test_probability_of_improvement_by_loops() -> None:
    x, y = np.round(SCORES, 1), np.round(OTHER, 1)
    by_game = [
        np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x[:, g], y[:, g])])
        for g in range(7)
    ]
    assert own.probability_of_improvement(x, y) == pytest.approx(np.mean(by_game))
    assert own.probability_of_improvement(x, x) == pytest.approx(0.5)


@pytest.mark.parametrize("axes", [(), (3,), (2, 3)])
def test_every_metric_takes_leading_axes(axes: tuple[int, ...]) -> None:
    scores = np.broadcast_to(SCORES, (*axes, *SCORES.shape))
    for metric in (own.interquartile_mean, own.median, own.mean, own.optimality_gap, own.capped_mean):
        assert np.allclose(metric(scores), np.full(axes, metric(SCORES)))
    thresholds = np.array([0.0, 0.5])
    assert own.performance_profile(scores, thresholds).shape == (*axes, 2)


def test_definitions_are_rliable_s() -> None:
    pytest.importorskip("rliable")
    from rliable import metrics

    assert own.interquartile_mean(SCORES) == pytest.approx(metrics.aggregate_iqm(SCORES))
    assert own.median(SCORES) == pytest.approx(metrics.aggregate_median(SCORES))
    assert own.mean(SCORES) == pytest.approx(metrics.aggregate_mean(SCORES))
    assert own.optimality_gap(SCORES) == pytest.approx(metrics.aggregate_optimality_gap(SCORES))
    assert own.probability_of_improvement(SCORES, OTHER) == pytest.approx(
        metrics.probability_of_improvement(SCORES, OTHER)
    )


def test_intervals_are_rliable_s() -> None:
    pytest.importorskip("rliable")
    from rliable import library

    np.random.seed(0)  # noqa: NPY002 (rliable draws from numpy's global generator)
    _, theirs = library.get_interval_estimates(
        {"a": SCORES}, lambda scores: np.array([own.interquartile_mean(scores)]), reps=2_000
    )
    ours = own.bootstrap(own.interquartile_mean, SCORES, resamples=4_000)
    assert [ours.low, ours.high] == pytest.approx(theirs["a"].ravel(), abs=0.03)
    pairs = {"a,b": (SCORES, OTHER)}
    _, theirs = library.get_interval_estimates(
        pairs, lambda x, y: np.array([own.probability_of_improvement(x, y)]), reps=2_000
    )
    ours = own.bootstrap(own.probability_of_improvement, SCORES, OTHER, resamples=4_000)
    assert [ours.low, ours.high] == pytest.approx(theirs["a,b"].ravel(), abs=0.03)


def test_bootstrap_is_stratified_by_game() -> None:
    # The spread is between games alone, which are not drawn: the mean cannot vary.
    scores = np.tile(np.array([0.0, 10.0, 20.0]), (4, 1))
    interval = own.bootstrap(own.mean, scores, resamples=200)
    assert interval == (10.0, 10.0, 10.0)


def test_bootstrap_draws_games_independently() -> None:
    # Were whole rows drawn, the two games would cancel in every resample.
    scores = np.array([[0.0, 1.0], [1.0, 0.0]])
    low, high = own.bootstrap(own.mean, scores, resamples=1_000)[1:]
    assert low == 0.0
    assert high == 1.0


def test_the_same_scores_give_the_same_interval() -> None:
    np.random.seed(1)  # noqa: NPY002
    first = own.bootstrap(own.median, SCORES, resamples=300)
    np.random.seed(2)  # noqa: NPY002
    assert own.bootstrap(own.median, SCORES, resamples=300) == first


def test_one_run_has_no_interval() -> None:
    assert own.bootstrap(own.mean, SCORES[:1])[1:] == (None, None)
    assert own.bootstrap(own.probability_of_improvement, SCORES, OTHER[:1])[1:] == (None, None)
    assert own.mean_interval(SCORES[0, :1])[1:] == (None, None)
    assert own.difference_interval(SCORES[:, 0], OTHER[:1, 0])[1:] == (None, None)


def test_mean_interval_by_hand() -> None:
    # Sample deviation 1, standard error 1 / sqrt(3), t quantile of 2 degrees of freedom 4.3027.
    value, low, high = own.mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (value, low, high) == pytest.approx((2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)


def test_difference_interval_is_welch_s() -> None:
    x, y = SCORES[:, 0], OTHER[:, 0]
    theirs = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert own.difference_interval(x, y) == pytest.approx((x.mean() - y.mean(), theirs.low, theirs.high))


@pytest.mark.parametrize("runs", [2, 3, 5, 20])
def test_detectable_effect_has_its_power(runs: int) -> None:
    effect = own.detectable_effect(runs)
    rng = np.random.default_rng(runs)
    x, y = rng.normal(effect, 1, (4_000, runs)), rng.normal(0, 1, (4_000, runs))
    found = stats.ttest_ind(x, y, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_least_p_value_is_the_exact_test_s() -> None:
    for runs in (2, 3, 4, 5):
        exact = stats.mannwhitneyu(np.arange(runs) + 100, np.arange(runs), method="exact").pvalue
        assert own.least_p_value(runs) == pytest.approx(exact)
