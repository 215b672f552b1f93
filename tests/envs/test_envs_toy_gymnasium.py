"""The toys through gymnasium's own doors."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

import envs.registration  # noqa: F401 (makes the ids known)
from envs.toy import TOYS


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", TOYS)
def test_gymnasium_s_checker_has_nothing_to_say(name):
    env = gymnasium.make(name, render_mode="rgb_array")
    check_env(env.unwrapped)
    image, _ = env.reset(seed=0)
    assert image.shape == (40, 40, 1)
    assert np.array_equal(env.render(), np.tile(image, 3))
    assert env.unwrapped.metadata["render_fps"] > 0


def test_a_vector_environment_plays_what_single_ones_do():
    """Against gymnasium's own loop over single environments, auto-reset, seeds and time limits included."""
    own = gymnasium.make_vec("relic/StyleShift-v0", num_envs=3, rounds=2, max_episode_steps=11)
    assert not isinstance(own, SyncVectorEnv)
    loop = gymnasium.make_vec(
        "relic/StyleShift-v0", num_envs=3, vectorization_mode="sync", rounds=2, max_episode_steps=11
    )
    assert own.single_observation_space == loop.single_observation_space
    assert own.action_space == loop.action_space
    assert own.metadata["autoreset_mode"] == loop.metadata["autoreset_mode"]
    actions = np.random.default_rng(0).integers(3, size=(60, 3))
    for seed in (7, [3, 1, 2], None):
        steps = [zip(own.reset(seed=seed)[:1], loop.reset(seed=seed)[:1], strict=True)]
        steps += [zip(own.step(a)[:4], loop.step(a)[:4], strict=True) for a in actions]
        for ours, theirs in (pair for step in steps for pair in step):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)
    assert not np.array_equal(own.reset(seed=0)[0], own.reset()[0])  # the next games
    assert own.step(actions[0])[0].shape == (3, 40, 40, 1)


def test_the_screens_of_a_vector_environment():
    env = gymnasium.make_vec("relic/Catch-v0", num_envs=2, render_mode="rgb_array", size=20)
    images, _ = env.reset(seed=0)
    assert [frame.shape for frame in env.render()] == [(20, 20, 3)] * 2
    assert np.array_equal(env.render()[1][..., :1], images[1])


def test_what_is_refused():
    env = gymnasium.make("envs.registration:relic/Catch-v0", disable_env_checker=True).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(ValueError, match="multiple of 10"):
        gymnasium.make("relic/Catch-v0", size=33)
    with pytest.raises(ValueError, match="render_mode"):
        gymnasium.make_vec("relic/Catch-v0", render_mode="human")
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make_vec("relic/Catch-v0").step(np.zeros(1, dtype=np.int64))
    with pytest.raises(ValueError, match="1 seeds for 2 copies"):
        gymnasium.make_vec("relic/Catch-v0", num_envs=2).reset(seed=[1])
