"""Human-normalised scores and impossible ones."""

import pytest

from envs.atari_games import GAMES
from envs.scores import SCORE_RANGES, game_key, human_normalized, impossible_score, reference_scores


def test_there_are_57_games_and_all_are_playable():
    assert len(reference_scores()) == 57
    assert set(reference_scores()) <= set(GAMES)
    assert all(reference.human > reference.random for reference in reference_scores().values())


def test_worked_by_hand():
    assert human_normalized("pong", -20.7) == 0
    assert human_normalized("pong", 14.6) == 1
    assert human_normalized("breakout", 16.1) == pytest.approx(0.5)
    assert human_normalized("skiing", -4336.9) == 1
    assert human_normalized("boxing", -11.9) == pytest.approx(-1)


def test_game_key():
    assert game_key("ALE/MsPacman-v5") == "ms_pacman"
    assert game_key("YarsRevenge-v5") == "yars_revenge"
    assert reference_scores()[game_key("ALE/MontezumaRevenge-v5")] == (0, 4753.3)
    with pytest.raises(ValueError, match="not an Atari game"):
        game_key("relic/Catch-v0")


def test_games_without_reference_say_so():
    with pytest.raises(ValueError, match="no human score is known for 'tetris'"):
        human_normalized("tetris", 1)


def test_impossible_scores():
    assert not impossible_score("pong", 21)
    assert not impossible_score("pong", -21)
    assert impossible_score("pong", 22)
    assert impossible_score("skiing", 1)
    assert not impossible_score("skiing", -30_000)
    assert not impossible_score("seaquest", 1e9)
    assert set(SCORE_RANGES) <= set(GAMES)
    for game, (low, high) in SCORE_RANGES.items():
        assert low <= reference_scores()[game].random < reference_scores()[game].human <= high
