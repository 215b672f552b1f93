"""Shares of a score that are kept under styles, by hand; names of styles as a command line gives them."""

import numpy as np
import pytest

from envs.style_shares import PLAIN, Style
from relic_rl.evaluation.style_shift import SCORE_COLUMNS, bootstrap_share, parse_styles, score_rows


def test_interval_of_a_share():
    generator = np.random.default_rng(0)
    plain = generator.normal(10, 2, 400)
    share = bootstrap_share((0.5 * plain).tolist(), plain.tolist(), seed=0)
    assert share.value == share.low == share.high == pytest.approx(0.5)  # in pairs: no spread
    shifted = generator.normal(5, 2, 400)
    share = bootstrap_share(shifted.tolist(), plain.tolist(), seed=0)
    error = 2 / np.sqrt(400) / 10 * np.sqrt(1 + 0.25)  # of a ratio of means, first order
    assert share.high - share.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert share == bootstrap_share(shifted.tolist(), plain.tolist(), seed=0)
    assert bootstrap_share([1.0], [2.0], seed=0) == (0.5, None, None)
    assert bootstrap_share([1.0, 0.0], [2.0, -1.9], seed=0).low is None  # plain scores around random play's
    with pytest.raises(ValueError, match="pairs"):
        bootstrap_share([1.0], [1.0, 2.0], seed=0)


def test_names_of_styles():
    assert parse_styles(["noise:3,blur:1"], has_unseen=False) == [Style("noise", 3), Style("blur", 1)]
    assert [style.severity for style in parse_styles(["gamma"], has_unseen=False)] == [1, 2, 3, 4, 5]
    assert len(parse_styles(["all"], has_unseen=False)) == 45
    assert parse_styles(["all"], has_unseen=True)[-1] == Style("unseen", 0)
    for words, says in (
        (["nose"], "did you mean noise"),
        (["noise:6"], "1 to 5"),
        (["noise:"], "1 to 5"),
        (["unseen"], "keeps no styles"),
        (["noise", "noise:2"], "twice"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_styles(words, has_unseen=False)


def test_rows_of_scores():
    about = dict.fromkeys(SCORE_COLUMNS[:7], "x")
    rows = score_rows(about, PLAIN, [1.0, 2.0], [5, 6], [False, True])
    assert [tuple(row) for row in rows] == [SCORE_COLUMNS] * 2
    assert (rows[1]["style"], rows[1]["severity"], rows[1]["episode"], rows[1]["impossible"]) == ("none", 0, 1, 1)
