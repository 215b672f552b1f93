"""The window of recent games."""

import json
import math

import numpy as np
import pytest

from envs.games import RecentGames
from envs.types import EnvStep


def make_step(returns, lengths, terminated, truncated):
    n = len(returns)
    return EnvStep(
        observation=np.zeros((n, 1, 1, 1), dtype=np.uint8),
        reward=np.ones(n, dtype=np.float32),
        terminated=np.array(terminated, dtype=bool),
        truncated=np.array(truncated, dtype=bool),
        lives=np.zeros(n, dtype=np.int32),
        invented=np.zeros(n, dtype=bool),
        episode_return=np.array(returns, dtype=np.float32),
        episode_length=np.array(lengths, dtype=np.int64),
    )


NAN = float("nan")


def test_counts_games_over_and_truncated_games_and_nothing_else():
    games = RecentGames()
    games.add(make_step([NAN, NAN], [0, 0], [0, 0], [0, 0]))
    assert games.num_games == 0
    assert math.isnan(games.mean_return)
    assert math.isnan(games.mean_length)
    games.add(make_step([3, NAN, -5], [10, 0, 21], [1, 0, 0], [0, 0, 1]))
    assert games.num_games == 2
    assert list(games.returns) == [3, -5]
    assert games.mean_return == -1
    assert games.mean_length == 15.5


def test_the_window_is_of_games():
    games = RecentGames(window=3)
    for k in range(5):
        games.add(make_step([k, NAN], [k + 1, 0], [1, 0], [0, 0]))
    assert games.num_games == 5
    assert list(games.returns) == [2, 3, 4]
    assert games.mean_return == 3
    assert games.mean_length == 4


def test_continues_from_its_state_in_plain_python():
    games = RecentGames(window=3)
    for k in range(5):
        games.add(make_step([k + 0.5], [k], [k % 2], [(k + 1) % 2]))
    state = json.loads(json.dumps(games.state_dict()))
    twin = RecentGames(window=3)
    twin.add(make_step([99], [99], [1], [0]))  # is forgotten
    twin.load_state_dict(state)
    for either in (games, twin):
        either.add(make_step([7], [8], [1], [0]))
    assert twin.state_dict() == games.state_dict()
    assert twin.mean_return == pytest.approx((3.5 + 4.5 + 7) / 3)
