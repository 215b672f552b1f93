"""Shares of a score that are kept in a style, by hand."""

import pytest

from envs.style_shares import Style, complete_mean, mean_shares, share_kept


def test_share_by_hand():
    assert share_kept(5, 10) == 0.5
    assert share_kept(-20.7, 14.6, -20.7) == 0
    assert share_kept(0, -10, -20) == 2
    assert share_kept(3, -20.7, -20.7) is None  # nothing that could be lost


def test_means_over_severities_then_styles():
    shares = {Style("noise", 1): 0.8, Style("noise", 2): 0.4, Style("blur", 1): 0.2, Style("unseen", 0): 0.1}
    means = mean_shares(shares)
    assert means == {"noise": pytest.approx(0.6), "blur": 0.2, "unseen": 0.1, "all": pytest.approx(0.4)}
    assert mean_shares({Style("noise", 1): None, Style("noise", 2): 0.4}) == {"noise": None, "all": None}
    assert mean_shares({Style("unseen", 0): 0.3}) == {"unseen": 0.3}


def test_a_mean_over_what_is_not_there():
    assert complete_mean([1.0, 2.0]) == 1.5
    assert complete_mean([1.0, None]) is None
    assert complete_mean([]) is None
