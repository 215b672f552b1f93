"""Both Atari engines behind the adapter, against a naive twin on the plain ALE interface."""

import dataclasses
import hashlib

import numpy as np
import pytest
from naive_atari import NaiveGame, area_resize

from envs.atari_games import atari_id
from envs.make import make_vector_env
from envs.protocols import NOOP, V5, AtariProtocol
from envs.seeds import env_seeds

ENGINES = ("envpool", "ale")
LEAST_NOOPS = {"envpool": 1, "ale": 0}
STILL = AtariProtocol(name="still", sticky=0.0, max_noops=0)


@pytest.fixture
def make():
    """A maker of one-threaded environments that are closed after the test."""
    opened = []

    def make_one(env_id="ALE/Pong-v5", num_envs=2, **arguments):
        arguments = {"seed": 0, "num_threads": 1} | arguments
        opened.append(make_vector_env(env_id, num_envs, **arguments))
        return opened[-1]

    yield make_one
    for env in opened:
        env.close()


def play(env, num_steps, seed=0):
    """The first step and all others under random actions."""
    rng = np.random.default_rng(seed)
    steps = [env.reset()]
    for _ in range(num_steps):
        steps.append(env.step(rng.integers(env.num_actions, size=env.num_envs)))
    return steps


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", [V5, STILL], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(("game", "steps"), [("breakout", 300), ("ms_pacman", 100)])
def test_replays_the_naive_game(make, engine, protocol, game, steps):
    """Frames, raw rewards, lives, ends, sticky actions: those of the plain emulator under the same seed."""
    env = make(atari_id(game), engine=engine, protocol=protocol, seed=5)
    twins = [NaiveGame(game, seed, sticky=protocol.sticky, noops=LEAST_NOOPS[engine]) for seed in env_seeds(5, 2)]
    assert env.num_actions == len(twins[0].actions)
    rng = np.random.default_rng(0)
    step = env.reset()
    expected = [twin.reset() for twin in twins]
    over = [False, False]
    total, length = [0.0, 0.0], [0, 0]
    seen = {"largest reward": 0, "ends": 0, "off": 0}
    for _ in range(steps):
        for i in range(2):
            ended = step.terminated[i]
            difference = np.abs(expected[i].astype(int) - step.observation[i])
            # In a game that ends within a frame skip, engines pool the newest frame with an older one.
            difference = difference[:3] if ended else difference
            assert difference.max() <= 1  # OpenCV averages in single precision: it rounds a few pixels differently
            seen["off"] += np.count_nonzero(difference) / difference.size / (2 * steps)
        actions = rng.integers(env.num_actions, size=2)
        step = env.step(actions)
        for i, twin in enumerate(twins):
            assert step.invented[i] == over[i]
            if over[i]:
                expected[i], reward, over[i], total[i], length[i] = twin.reset(), 0, False, 0, 0
            else:
                expected[i], reward, over[i], lives = twin.step(actions[i])
                total[i] += reward
                length[i] += 1
                assert step.lives[i] == lives
            assert step.reward[i] == reward
            assert step.terminated[i] == over[i]
            assert not step.truncated[i]
            if over[i]:
                assert step.episode_return[i] == total[i]
                assert step.episode_length[i] == length[i]
                seen["ends"] += 1
            else:
                assert np.isnan(step.episode_return[i])
                assert step.episode_length[i] == 0
            seen["largest reward"] = max(seen["largest reward"], reward)
    assert seen["largest reward"] >= {"breakout": 1, "ms_pacman": 10}[game]  # nothing is clipped
    assert seen["ends"] > 0 or game == "ms_pacman"
    assert seen["off"] < 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_noop_starts_are_those_of_the_protocol(make, engine):
    """Every first observation is that of some number of no-ops up to 30, and the numbers vary."""
    env = make("ALE/Seaquest-v5", num_envs=16, engine=engine, protocol="noop")
    step = env.reset()
    naive = NaiveGame("seaquest", 1, sticky=0.0, noops=0)
    starts = [naive.reset()[0]]
    for _ in range(32):
        naive.ale.act(0)
        starts.append(area_resize(naive.ale.getScreenGrayscale()))
    numbers = set()
    for first in step.observation[:, 0]:
        distance = [np.abs(first.astype(int) - start).max() for start in starts]
        assert min(distance) <= 1
        numbers.add(int(np.argmin(distance)))
    assert numbers <= set(range(LEAST_NOOPS[engine], NOOP.max_noops + 1))
    assert len(numbers) > 6
    assert max(numbers) > 20


def test_engines_agree_to_the_last_bit(make):
    """Among ALE games with zero or one no-op, those with one are envpool's game, frame by frame."""
    num_envs, num_steps = 8, 150
    one = make("ALE/Breakout-v5", num_envs=1, engine="envpool", protocol=STILL)
    # ALE's engine cannot be told to take exactly one no-op: draw from {0, 1} and look for both.
    several = make("ALE/Breakout-v5", num_envs=num_envs, engine="ale", protocol=dataclasses.replace(STILL, max_noops=1))
    rng = np.random.default_rng(0)
    step, steps = one.reset(), several.reset()
    same = np.ones(num_envs, dtype=bool)
    for _ in range(num_steps):
        same &= (steps.observation == step.observation).all(axis=(1, 2, 3)) & (steps.reward == step.reward)
        action = rng.integers(one.num_actions)
        step, steps = one.step(np.array([action])), several.step(np.full(num_envs, action))
        if step.terminated[0]:
            break
    assert same.any()
    assert not same.all()


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("envpool", "49b5445e4227711a"),
        ("ale", "04763cf4aad469c4"),
    ],
)
def test_preprocessing_is_pinned(make, engine, expected):
    """What an agent sees in 100 fixed steps, to the last bit."""
    env = make("ALE/Breakout-v5", num_envs=1, engine=engine, protocol=STILL)
    digest = hashlib.sha256()
    for step in play(env, 100):
        digest.update(step.observation.tobytes())
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", ["v5", "noop"])
def test_contract_of_a_step(make, engine, protocol):
    env = make(num_envs=3, engine=engine, protocol=protocol)
    assert (env.num_envs, env.observation_shape, env.frame_skip) == (3, (4, 84, 84), 4)
    steps = play(env, 5)
    for step in steps:
        assert step.observation.shape == (3, 4, 84, 84)
        for field, dtype in {
            "observation": np.uint8,
            "reward": np.float32,
            "terminated": np.bool_,
            "truncated": np.bool_,
            "lives": np.int32,
            "invented": np.bool_,
            "episode_return": np.float32,
            "episode_length": np.int64,
        }.items():
            value = getattr(step, field)
            assert value.dtype == dtype
            assert len(value) == 3
    assert steps[0].invented.all()
    assert not steps[0].reward.any()
    assert not any(step.invented.any() for step in steps[1:])
    for step in steps[:3]:  # three steps in, the first frame is still the oldest of the stack
        assert (step.observation[:, 0] == steps[0].observation[:, 3]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_truncation(make, engine):
    """A time limit of 6 agent steps: not a game over, true final observation, then a new game."""
    env = make("ALE/Pong-v5", engine=engine, max_episode_steps=6, seed=3)
    steps = play(env, 20)
    for t, step in enumerate(steps):
        assert not step.terminated.any()
        assert (step.truncated == (t % 7 == 6)).all()
        assert (step.invented == (t % 7 == 0)).all()
        assert (step.episode_length == (6 if t % 7 == 6 else 0)).all()
        assert (np.isnan(step.episode_return) == (t % 7 != 6)).all()
        if t % 7 == 0:
            assert (step.observation == step.observation[:, :1]).all()  # stack of the first frame
        else:
            # The stack goes on from the step before, to the last observation of the game.
            assert (step.observation[:, :3] == steps[t - 1].observation[:, 1:]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_game_over_beats_the_time_limit(make, engine):
    """A game that ends at the very step of its time limit is over: nothing may bootstrap from it."""
    rng = np.random.default_rng(0)
    actions = rng.integers(4, size=(1000, 1))

    def first_end(limit):
        env = make("ALE/Breakout-v5", num_envs=1, engine=engine, max_episode_steps=limit)
        env.reset()
        for t, action in enumerate(actions):
            step = env.step(action)
            if step.terminated[0] or step.truncated[0]:
                return t + 1, bool(step.terminated[0]), bool(step.truncated[0])
        raise AssertionError

    length, terminated, truncated = first_end(None)
    assert (terminated, truncated) == (True, False)
    assert first_end(length) == (length, True, False)
    assert first_end(length - 1) == (length - 1, False, True)


@pytest.mark.parametrize("engine", ENGINES)
def test_lost_lives_end_nothing(make, engine):
    """A game of Breakout is five lives; its length and return are those of all five."""
    env = make("ALE/Breakout-v5", num_envs=4, engine=engine)
    steps = play(env, 400)
    reward = np.stack([step.reward for step in steps])
    lives = np.stack([step.lives for step in steps])
    ended = np.stack([step.terminated for step in steps])
    invented = np.stack([step.invented for step in steps])
    games = 0
    for i in range(4):
        start = 0
        for t in np.flatnonzero(ended[:, i]):
            assert lives[start, i] == 5
            assert lives[t, i] == 0
            assert sorted(set(lives[start : t + 1, i])) == [0, 1, 2, 3, 4, 5]
            assert steps[t].episode_return[i] == reward[start : t + 1, i].sum()
            assert steps[t].episode_length[i] == t - start
            start = t + 1
            games += 1
        assert set(np.flatnonzero(invented[:, i])) == {0} | {t + 1 for t in np.flatnonzero(ended[:-1, i])}
    assert games > 3


@pytest.mark.parametrize("engine", ENGINES)
def test_same_seed_same_game_other_seed_other_game(make, engine):
    def observations(seed, num_envs=3):
        return [step.observation for step in play(make(num_envs=num_envs, engine=engine, seed=seed), 60)]

    first, again, other = observations(4), observations(4), observations(5)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    streams = [np.stack(run)[:, i].tobytes() for run in (first, other) for i in range(3)]
    assert len(set(streams)) == 6


@pytest.mark.parametrize("engine", ENGINES)
def test_reset_does_not_replay(make, engine):
    """A second reset starts other games, but as the seed determines."""
    env, twin = (make("ALE/Seaquest-v5", num_envs=4, engine=engine, protocol="noop") for _ in range(2))
    first, second = env.reset().observation, env.reset().observation
    assert (first != second).any()
    twin.reset()
    assert (twin.reset().observation == second).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_results_come_in_the_order_of_the_actions(make, engine):
    """Environment i is the same whether alone or among others: on several threads, each keeps its place."""
    together = make("ALE/Pong-v5", num_envs=5, engine=engine, seed=7, num_threads=3)
    script = np.random.default_rng(1).integers(together.num_actions, size=(40, 5))
    together.reset()
    runs = [together.step(actions) for actions in script]
    # Environment 3's seed depends on its number only, so N = 4 has it too; the others' actions do not matter.
    fewer = make("ALE/Pong-v5", num_envs=4, engine=engine, seed=7)
    fewer.reset()
    for actions, step in zip(script, runs, strict=True):
        assert (fewer.step(np.where(np.arange(4) == 3, actions[:4], 0)).observation[3] == step.observation[3]).all()
    assert len({run.tobytes() for run in np.stack([step.observation for step in runs], axis=1)}) == 5


@pytest.mark.parametrize("engine", ENGINES)
def test_returned_arrays_are_never_written_again(make, engine):
    steps = []
    copies = []
    env = make("ALE/Breakout-v5", num_envs=3, engine=engine, max_episode_steps=7)
    for _ in range(3):
        for step in play(env, 30):
            steps.append(step)
            copies.append([field.copy() for field in step])
    for step, copy in zip(steps, copies, strict=True):
        for field, expected in zip(step, copy, strict=True):
            np.testing.assert_array_equal(field, expected)
