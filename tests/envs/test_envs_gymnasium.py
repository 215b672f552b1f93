"""Any gymnasium image environment: layouts, stacking, time, and what is turned down."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from envs.make import make_vector_env, validate_env_id
from envs.toy import Counting, read_counts


class CountingEnv(gymnasium.Env):
    """``Counting`` once more, as a gymnasium environment with a choice of layouts."""

    def __init__(self, layout="hw", env=0, start=0, actions=None, dtype=np.uint8):
        self.layout, self.env, self.start = layout, env, start
        self.observation_space = Box(0, 255, self._image(0, 0).shape, dtype)
        self.action_space = actions or Discrete(4, start=start)
        self.episode = -1

    def _image(self, step, episode):
        image = np.zeros((40, 50), dtype=np.uint8)
        for row, value in enumerate((step, episode, self.env)):
            image[4 * row : 4 * row + 4] = value
        return {
            "hw": image,
            "hwc": np.stack([image, image + 1, image + 2], axis=2),
            "chw": np.stack([image, image + 1, image + 2], axis=0),
            "vector": image[0],
        }[self.layout]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        self.noise = int(self.np_random.integers(2**31))
        return self._image(0, self.episode), {"lives": 3, "noise": self.noise}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        last = self.t >= 5 + (self.env + self.episode) % 3
        even = self.episode % 2 == 0
        info = {"lives": max(0, 3 - self.t // 2)}
        reward = float(1 + action - self.start)
        return self._image(self.t, self.episode), reward, last and even, last and not even, info


@pytest.fixture(autouse=True)
def _register():
    gymnasium.register("test/Counting-v0", CountingEnv)
    yield
    del gymnasium.registry["test/Counting-v0"]


def steps_of(env, num_steps=60):
    actions = np.random.default_rng(0).integers(4, size=(num_steps, env.num_envs))
    return [env.reset()] + [env.step(action) for action in actions]


@pytest.mark.parametrize("start", [0, 7])
def test_same_time_as_the_native_toy(start):
    """Every field, step by step; so all that holds for the toy holds for this engine."""
    env = make_vector_env("test/Counting-v0", 1, seed=0, start=start)
    assert (env.num_envs, env.num_actions, env.observation_shape, env.frame_skip) == (1, 4, (1, 40, 50), 1)
    for step, expected in zip(steps_of(env), steps_of(Counting([0])), strict=True):
        counts = read_counts(step.observation)
        assert (counts.step, counts.episode) == read_counts(expected.observation)[:2]
        for name, value, other in zip(step._fields[1:], step[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(value, other, err_msg=name)
            assert value.dtype == other.dtype
    env.close()


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_layouts(layout):
    env = make_vector_env("test/Counting-v0", 2, seed=0, layout=layout)
    assert env.observation_shape == (3, 40, 50)
    for step in steps_of(env):
        assert step.observation.shape == (2, 3, 40, 50)
        assert step.observation.dtype == np.uint8
        assert step.observation.flags.c_contiguous
        for channel in range(3):
            counts = read_counts(step.observation[:, channel : channel + 1])
            assert (counts.env == channel).all()
            assert (counts.step == read_counts(step.observation[:, :1]).step + channel).all()


@pytest.mark.parametrize(("layout", "channels"), [("hw", 1), ("chw", 3)])
def test_stacks_repeat_the_first_image_and_never_cross_a_game(layout, channels):
    stack = 3
    plain = make_vector_env("test/Counting-v0", 2, seed=0, layout=layout)
    stacked = make_vector_env("test/Counting-v0", 2, seed=0, layout=layout, stack=stack)
    assert stacked.observation_shape == (stack * channels, 40, 50)
    recent = []
    copies = []
    for single, several in zip(steps_of(plain), steps_of(stacked), strict=True):
        # Both environments of this test keep the same time, so one flag speaks for both.
        recent = [single.observation] * stack if single.invented.all() else [*recent[1:], single.observation]
        assert (several.observation == np.concatenate(recent, axis=1)).all()
        copies.append((several.observation, several.observation.copy()))
    assert all((kept == copy).all() for kept, copy in copies)


def test_games_that_end_apart_keep_apart_stacks():
    gymnasium.register("test/Staggered-v0", StaggeredEnv)
    env = make_vector_env("test/Staggered-v0", 3, seed=0, stack=2)
    seen_apart = False
    for step in steps_of(env):
        counts = [read_counts(step.observation[:, k : k + 1]) for k in range(2)]
        assert (counts[0].episode == counts[1].episode).all()
        assert (counts[0].step == np.maximum(counts[1].step - 1, 0)).all()
        seen_apart |= step.invented.any() and not step.invented.all()
    del gymnasium.registry["test/Staggered-v0"]
    assert seen_apart


class StaggeredEnv(CountingEnv):
    """Games whose lengths are drawn."""

    def reset(self, *, seed=None, options=None):
        image, info = super().reset(seed=seed, options=options)
        self.env = self.noise % 3
        return image, info


def test_time_limit():
    env = make_vector_env("test/Counting-v0", 2, seed=0, max_episode_steps=3)
    for t, step in enumerate(steps_of(env, 12)):
        assert (step.truncated == (t % 4 == 3)).all()
        assert (step.invented == (t % 4 == 0)).all()
        assert not step.terminated.any()


def test_game_over_beats_the_time_limit():
    env = make_vector_env("test/Counting-v0", 1, seed=0, max_episode_steps=5)
    step = steps_of(env, 5)[-1]
    assert (step.terminated[0], step.truncated[0]) == (True, False)


def test_seeds_reach_the_environments():
    def draws(seed):
        env = make_vector_env("test/Counting-v0", 3, seed=seed)
        env.reset()
        first = [e.unwrapped.noise for e in env._engine.envs]
        env.reset()
        return first, [e.unwrapped.noise for e in env._engine.envs]

    assert draws(1) == draws(1)
    first, second = draws(1)
    assert len({*first, *second, *draws(2)[0]}) == 9


def test_ids_may_name_a_module(tmp_path, monkeypatch):
    (tmp_path / "my_game.py").write_text(
        "import gymnasium, numpy as np\n"
        "class Env(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(0, 255, (36, 48, 3), np.uint8)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return self.observation_space.sample(), {}\n"
        "    def step(self, action):\n"
        "        return self.observation_space.sample(), 0.0, False, False, {}\n"
        "gymnasium.register('MyGame-v0', Env)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    validate_env_id("my_game:MyGame-v0")
    env = make_vector_env("my_game:MyGame-v0", 2, seed=0)
    assert env.observation_shape == (3, 36, 48)
    step = env.reset()
    assert (step.lives == 0).all()
    assert step.lives.dtype == np.int32


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"layout": "vector"}, r"shows Box \(50,\) uint8, not uint8 images"),
        ({"dtype": np.float32}, "not uint8 images"),
        ({"actions": Box(-1, 1, (2,))}, "has continuous actions"),
        ({"actions": gymnasium.spaces.MultiDiscrete([2, 2])}, "actions that are not Discrete"),
        ({"typo": 1}, "cannot build 'test/Counting-v0': TypeError"),
        ({"stack": 0}, "stack is 0: give at least 1"),
    ],
)
def test_unfit_environments_are_turned_down_in_one_line(options, hint):
    with pytest.raises(ValueError, match=hint) as error:
        make_vector_env("test/Counting-v0", 2, seed=0, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
