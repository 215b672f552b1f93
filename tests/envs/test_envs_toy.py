"""Toy environments: rules, time, restoring; and the account of games on all of them."""

import numpy as np
import pytest

from envs.make import make_vector_env
from envs.toy import TOYS, Catch, Counting, Recall, read_counts


def counting_truth(i, actions, length=5):
    """What environment i reports: step, episode, invented, reward, terminated, truncated, return, length."""
    episode, t, total, over = 0, 0, 0, False
    yield 0, 0, True, 0, False, False, np.nan, 0
    for action in actions:
        if over:
            episode, t, total, over = episode + 1, 0, 0, False
            yield 0, episode, True, 0, False, False, np.nan, 0
            continue
        t += 1
        total += 1 + action
        over = t == length + (i + episode) % 3
        even = episode % 2 == 0
        yield (
            t,
            episode,
            False,
            1 + action,
            over and even,
            over and not even,
            *((total, t) if over else (np.nan, 0)),
        )


def test_counting_tells_the_time():
    """Auto-reset, terminal observation, truncation, ignored action, returns: against a plain loop."""
    num_envs, num_steps = 5, 80
    env = make_vector_env("relic/Counting-v0", num_envs, seed=0)
    actions = np.random.default_rng(0).integers(env.num_actions, size=(num_steps, num_envs))
    steps = [env.reset()] + [env.step(a) for a in actions]
    for i in range(num_envs):
        for step, truth in zip(steps, counting_truth(i, actions[:, i]), strict=True):
            counts = read_counts(step.observation[i])
            reported = (counts.step, counts.episode, *(field[i] for field in step[1:]))
            t, episode, invented, reward, terminated, truncated, total, length = truth
            lives = max(0, 3 - t // 2)
            expected = (t, episode, reward, terminated, truncated, lives, invented, total, length)
            np.testing.assert_array_equal(np.array(reported, dtype=float), np.array(expected, dtype=float))
            assert counts.env == i


def test_a_second_reset_drops_the_games_in_flight():
    env = Counting([1, 2], length=4)
    env.reset()
    env.step(np.array([3, 3]))
    step = env.reset()
    assert (read_counts(step.observation).episode == 1).all()
    while not step.terminated.any() and not step.truncated.any():
        step = env.step(np.zeros(2, dtype=np.int64))
    ended = step.truncated | step.terminated
    assert (step.episode_return[ended] == step.episode_length[ended]).all()


def test_a_reset_right_after_a_game_replaces_the_auto_reset():
    env = Counting([1], length=1)
    env.reset()
    assert env.step(np.zeros(1, dtype=np.int64)).terminated[0]
    assert env.reset().invented[0]
    step = env.step(np.full(1, 2))
    assert (step.invented[0], step.reward[0]) == (False, 3)
    counts = read_counts(step.observation[0])
    assert (counts.step, counts.episode) == (1, 1)


@pytest.mark.parametrize("env_id", sorted(TOYS))
def test_time_limit(env_id):
    env = make_vector_env(env_id, 3, seed=0, max_episode_steps=3)
    env.reset()
    for t in range(1, 12):
        step = env.step(np.zeros(3, dtype=np.int64))
        assert (step.truncated == (t % 4 == 3)).all()
        assert (step.invented == (t % 4 == 0)).all()
        assert not step.terminated.any()


def play(env, policy, games):
    """Mean return of at least ``games`` games."""
    step = env.reset()
    returns = []
    while len(returns) < games:
        step = env.step(policy(step))
        returns += list(step.episode_return[step.terminated])
    return np.mean(returns)


def random_policy(num_actions):
    rng = np.random.default_rng(0)
    return lambda step: rng.integers(num_actions, size=len(step.reward))


@pytest.mark.parametrize("size", [40, 80])
def test_catch_is_won_by_following_the_ball(size):
    env = Catch(range(8), size=size)
    scale = size // 10

    def follow(step):
        board = step.observation[:, 0, scale // 2 :: scale, scale // 2 :: scale]
        ball = board[:, :-1].max(axis=1).argmax(axis=1)
        paddle = board[:, -1].argmax(axis=1)
        return 1 + np.sign(ball - paddle)

    assert play(env, follow, 100) == 1
    assert play(env, random_policy(3), 400) < -0.5
    assert env.reset().observation.shape == (8, 1, size, size)


def test_catch_draws_every_column():
    env = Catch(range(200))
    first = env.reset().observation[:, 0, ::4, ::4]
    assert set(first[:, 0].argmax(axis=1)) == set(range(10))


@pytest.mark.parametrize("length", [6, 8])
def test_recall_needs_the_first_image(length):
    env = Recall(range(8), length=length)
    cue = np.zeros(8, dtype=np.int64)

    def remember(step):
        nonlocal cue
        right = step.observation[:, 0, 20, 39] > step.observation[:, 0, 20, 0]
        cue = np.where(step.invented, right, cue)
        return np.where(signal(step), 1 + cue, 0)

    def signal(step):
        return (step.observation[:, 0, 0, 20] == 255) & (step.observation[:, 0, 20, 0] == 255)

    def guess(step):
        return np.where(signal(step), 1, 0)

    assert play(env, remember, 100) == 1
    assert abs(play(env, guess, 1000)) < 0.1
    assert play(env, random_policy(3), 200) < -1
    assert play(env, lambda step: np.where(signal(step), 0, 0), 100) == -1


def test_recall_shows_the_cue_once():
    """From the second image on, games with either cue look the same."""
    env = Recall(range(16))
    step = env.reset()
    assert len(np.unique(step.observation, axis=0)) == 2
    for _ in range(7):
        step = env.step(np.zeros(16, dtype=np.int64))
        assert len(np.unique(step.observation, axis=0)) == 1
    step = env.step(np.ones(16, dtype=np.int64))
    assert step.terminated.all()
    assert set(step.episode_return) == {1, -1}


def test_carrying_the_cue_in_ones_actions_does_not_pay():
    """An agent that presses the cue at every step, and reads it off its previous action, stays below 0."""
    env = Recall(range(8))
    previous = np.zeros(8, dtype=np.int64)

    def carry(step):
        nonlocal previous
        right = step.observation[:, 0, 20, 39] > step.observation[:, 0, 20, 0]
        previous = np.where(step.invented, np.where(right, 0, 2), previous)  # waiting may stand for one cue
        at_signal = (step.observation[:, 0, 0, 20] == 255) & (step.observation[:, 0, 20, 0] == 255)
        return np.where(at_signal, np.where(previous == 0, 2, 1), previous)

    assert -1 < play(env, carry, 500) < 0


@pytest.mark.parametrize("env_id", sorted(TOYS))
def test_restored_environments_continue_exactly(env_id):
    env = make_vector_env(env_id, 4, seed=9)
    actions = np.random.default_rng(0).integers(3, size=(60, 4))
    env.reset()
    for action in actions[:17]:
        env.step(action)
    state = env.get_state()
    expected = [env.step(action) for action in actions[17:]]
    twin = make_vector_env(env_id, 4, seed=9)
    twin.reset()
    twin.set_state(state)
    for action, step in zip(actions[17:], expected, strict=True):
        for field, value in zip(twin.step(action), step, strict=True):
            np.testing.assert_array_equal(field, value)
    assert all(value.shape == (4,) and value.dtype.kind in "bif" for value in state.values())


@pytest.mark.parametrize("env_id", ["relic/Catch-v0", "relic/Recall-v0"])
def test_toys_obey_their_seed(env_id):
    def images(seed):
        env = make_vector_env(env_id, 6, seed=seed)
        env.reset()
        return np.stack([env.step(np.zeros(6, dtype=np.int64)).observation for _ in range(60)])

    assert (images(1) == images(1)).all()
    assert (images(1) != images(2)).any()
    assert len({run.tobytes() for run in images(1).swapaxes(0, 1)}) == 6


def test_earlier_steps_are_left_alone():
    env = Counting(range(3))
    steps = [env.reset()] + [env.step(np.zeros(3, dtype=np.int64)) for _ in range(20)]
    assert [int(read_counts(step.observation).step[0]) for step in steps[:8]] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert steps[0].invented.all()
    assert not steps[1].invented.any()


def test_bad_arguments():
    with pytest.raises(ValueError, match="size is 45: give a multiple of 10"):
        Catch([0], size=45)
    with pytest.raises(ValueError, match="length is 5: give at least 6"):
        Recall([0], length=5)
