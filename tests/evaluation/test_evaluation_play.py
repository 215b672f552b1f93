"""Whole games: the fixed share of each environment, truncation, order, recording, stopping."""

import json
import statistics

import numpy as np
import pytest

from envs.types import EnvStep
from relic_rl.evaluation.play import Games, newest_frame, play_games, summarize


class Timed:
    """Environment i plays games of ``lengths[i]`` steps in turn; a game's return is 100 i + its number.

    Games of odd number are truncated. Images hold the environment (first channel, the older frame) and the
    time in the game (last channel, the newest frame).
    """

    num_actions = 2
    observation_shape = (2, 3, 3)
    stack = 2
    frame_skip = 1

    def __init__(self, lengths):
        self.lengths = lengths
        self.num_envs = len(lengths)
        self.steps = 0
        self.actions = []

    def reset(self):
        self.game = np.zeros(self.num_envs, dtype=int)
        self.time = np.zeros(self.num_envs, dtype=int)
        self.over = np.zeros(self.num_envs, dtype=bool)
        return self._pack(np.ones(self.num_envs, dtype=bool))

    def step(self, actions):
        self.steps += 1
        assert self.steps < 500, "played on and on"
        self.actions.append(actions)
        invented = self.over
        self.game = self.game + invented
        self.time = np.where(invented, 0, self.time + 1)
        self.over = ~invented & (self.time >= [self._length(i) for i in range(self.num_envs)])
        return self._pack(invented)

    def close(self):
        pass

    def _length(self, i):
        return self.lengths[i][self.game[i] % len(self.lengths[i])]

    def _pack(self, invented):
        n = self.num_envs
        image = np.zeros((n, *self.observation_shape), dtype=np.uint8)
        image[:, 0] = np.arange(n)[:, None, None]
        image[:, 1] = self.time[:, None, None]
        odd = self.game % 2 == 1
        return EnvStep(
            observation=image,
            reward=np.zeros(n, dtype=np.float32),
            terminated=self.over & ~odd,
            truncated=self.over & odd,
            lives=np.zeros(n, dtype=np.int32),
            invented=invented,
            episode_return=np.where(self.over, 100 * np.arange(n) + self.game, np.nan).astype(np.float32),
            episode_length=np.where(self.over, self.time, 0).astype(np.int64),
        )


def idle(step):
    return np.zeros(len(step.lives), dtype=np.int64)


def test_every_environment_plays_its_share_in_order():
    games = play_games(Timed([[2, 4], [3], [1, 5]]), idle, 8)
    assert games.returns == [0, 1, 2, 100, 101, 102, 200, 201]
    assert games.lengths == [2, 4, 2, 3, 3, 3, 1, 5]  # truncated games (of odd number) count like all others
    assert games.frames is None


def test_short_games_are_not_preferred():
    """The first six games to finish would all be short ones of the second environment."""
    games = play_games(Timed([[40], [2]]), idle, 6)
    assert games.lengths == [40, 40, 40, 2, 2, 2]


def test_shares_where_there_are_fewer_games_than_environments():
    games = play_games(Timed([[9], [1], [1], [1]]), idle, 2)
    assert games.returns == [0, 100]
    assert play_games(Timed([[3]]), idle, 0).returns == []


def test_stops_stepping_when_the_last_share_is_done():
    env = Timed([[2], [3]])
    play_games(env, idle, 4)
    assert env.steps == 3 + 1 + 3  # two games of three steps, one invented step between them


def test_the_policy_sees_the_current_step_and_its_actions_are_taken():
    env = Timed([[2], [3]])
    seen = []

    def policy(step):
        seen.append(step)
        return np.array([len(seen), 7])

    play_games(env, policy, 2)
    assert seen[0].invented.all()
    assert [step.observation[1, -1, 0, 0] for step in seen] == [0, 1, 2]
    assert [a.tolist() for a in env.actions] == [[1, 7], [2, 7], [3, 7]]


def test_records_the_first_game_of_the_first_environment_from_first_to_last_frame():
    games = play_games(Timed([[4, 6], [9]]), idle, 4, record=True)
    assert games.frames.dtype == np.uint8
    assert games.frames.shape == (5, 3, 3)
    assert games.frames[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    short = play_games(Timed([[4], [9]]), idle, 2, record=True, max_recorded_steps=3)
    assert short.frames[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("channels", "stack", "shown"),
    [(4, 4, 3), (1, 1, 0), (4, 2, 3), (3, 1, [0, 1, 2]), (6, 2, [3, 4, 5]), (4, 1, [0, 1, 2])],
)
def test_the_newest_frame_is_grey_or_of_three_colours(channels, stack, shown):
    observation = np.arange(channels * 6, dtype=np.uint8).reshape(channels, 2, 3)
    frame = newest_frame(observation, stack)
    assert frame.shape == ((2, 3) if isinstance(shown, int) else (2, 3, 3))
    assert np.array_equal(
        frame, observation[shown] if isinstance(shown, int) else observation[shown].transpose(1, 2, 0)
    )
    assert not np.shares_memory(frame, observation)


@pytest.mark.parametrize(("after", "expected"), [(0, []), (3, [0]), (5, [0, 100, 1])])
def test_stops_when_asked_and_keeps_what_is_finished(after, expected):
    env = Timed([[2, 2], [4]])
    games = play_games(env, idle, 6, should_stop=lambda: env.steps >= after)
    assert env.steps == after
    assert sorted(games.returns) == sorted(expected)


SCORES = [-21.0, 3.0, 4.0, 12.0]


def test_summary_of_scores():
    summary = summarize(Games(SCORES, [5, 6, 7, 8], None), "relic/Catch-v0")
    assert summary == {
        "num_games": 4,
        "mean_return": -0.5,
        "median_return": 3.5,
        "std_return": pytest.approx(statistics.stdev(SCORES)),
        "min_return": -21,
        "max_return": 12,
        "returns": SCORES,
        "lengths": [5, 6, 7, 8],
    }
    assert json.loads(json.dumps(summary)) == summary
    assert summarize(Games([2.0], [1], None), "relic/Catch-v0")["std_return"] is None


def test_summary_of_an_atari_game():
    summary = summarize(Games([*SCORES, 22.0], [1] * 5, None), "ALE/Pong-v5")
    assert summary["human_normalized"] == pytest.approx((4.0 - -20.7) / (14.6 - -20.7))
    assert summary["impossible_scores"] == 1  # Pong ends at 21
