"""The toys as gymnasium environments; `envs.registration` makes their ids known.

Images are uint8 [H, W, 1], as gymnasium has them, actions ``Discrete``. A seed gives the same games to a single
environment and to the copy of a vector environment that gymnasium seeds alike: copy i with the seed plus i.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.toy import TOYS
from envs.toy_env import ToyEnv

_FPS = 10
_RENDER_MODES = (None, "rgb_array")

Image = NDArray[np.uint8]


class ToyImages(gymnasium.Env[Image, np.int64]):
    """One copy of a toy.

    Args:
        toy: its id.
        render_mode: ``rgb_array``, or None.
        **options: the toy's own arguments, such as ``size``.

    Raises:
        ValueError: an argument that the toy refuses, or another render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": _FPS}  # noqa: RUF012 (gymnasium's own way)

    def __init__(self, toy: str, *, render_mode: str | None = None, **options: Any) -> None:
        _check_mode(render_mode)
        self.render_mode = render_mode
        self._toy = toy
        self._options = options
        self._env: ToyEnv | None = None
        self.observation_space, self.action_space = _spaces(TOYS[toy]([0], **options))
        self._image: Image | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Image, dict[str, Any]]:
        """Start the next game; with a seed, the first one that the seed gives."""
        super().reset(seed=seed)
        if seed is not None or self._env is None:
            self._env = TOYS[self._toy]([_game_seed(self.np_random)], **self._options)
        self._image = _channels_last(self._env.reset().observation)[0]
        return self._image, {}

    def step(self, action: np.int64) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """Take one step."""
        if self._env is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        step = self._env.step(np.array([action], dtype=np.int64))
        self._image = _channels_last(step.observation)[0]
        return self._image, float(step.reward[0]), bool(step.terminated[0]), bool(step.truncated[0]), {}

    def render(self) -> Image | None:
        """The screen as it is, uint8 [H, W, 3]; None without a render mode."""
        if self.render_mode is None or self._image is None:
            return None
        return self._image.repeat(3, axis=-1)


class ToyVector(gymnasium.vector.VectorEnv[Image, NDArray[np.int64], NDArray[Any]]):
    """Copies of a toy, stepped together; the step after a game's end starts the next one (next-step auto-reset).

    Args:
        toy: its id.
        num_envs: N.
        render_mode: ``rgb_array``, or None.
        **options: the toy's own arguments, ``max_episode_steps`` among them.

    Raises:
        ValueError: an argument that the toy refuses, or another render mode.
    """

    metadata = {**ToyImages.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 (gymnasium's own way)

    def __init__(self, toy: str, *, num_envs: int = 1, render_mode: str | None = None, **options: Any) -> None:
        _check_mode(render_mode)
        self.render_mode = render_mode
        self.num_envs = num_envs
        self._toy = toy
        self._options = options
        self._env: ToyEnv | None = None
        self.single_observation_space, self.single_action_space = _spaces(TOYS[toy]([0], **options))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._images: Image | None = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Start the next game in every copy; with a seed, the first ones that the seed gives."""
        if seed is not None or self._env is None:
            games = [_game_seed(np_random(one)[0]) for one in _seed_of_each(seed, self.num_envs)]
            self._env = TOYS[self._toy](games, **self._options)
        self._images = _channels_last(self._env.reset().observation)
        return self._images, {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Image, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take one step; ``actions`` int64 [N]."""
        if self._env is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        step = self._env.step(np.asarray(actions, dtype=np.int64))
        self._images = _channels_last(step.observation)
        return self._images, step.reward.astype(np.float64), step.terminated, step.truncated, {}

    def render(self) -> tuple[Image, ...] | None:
        """The screens as they are, N times uint8 [H, W, 3]; None without a render mode."""
        if self.render_mode is None or self._images is None:
            return None
        return tuple(self._images.repeat(3, axis=-1))


def _spaces(env: ToyEnv) -> tuple[gymnasium.Space[Any], Discrete]:
    channels, height, width = env.observation_shape
    return Box(0, 255, (height, width, channels), np.uint8), Discrete(env.num_actions)


def _game_seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


def _seed_of_each(seed: int | list[int | None] | None, num_envs: int) -> list[int | None]:
    """As gymnasium spreads one: copy i gets the seed plus i."""
    if isinstance(seed, list):
        if len(seed) != num_envs:
            raise ValueError(f"{len(seed)} seeds for {num_envs} copies: give one for each")
        return seed
    return [None if seed is None else seed + i for i in range(num_envs)]


def _channels_last(observation: Image) -> Image:
    """[N, C, H, W] as [N, H, W, C]."""
    return np.ascontiguousarray(np.moveaxis(observation, 1, -1))


def _check_mode(render_mode: str | None) -> None:
    if render_mode not in _RENDER_MODES:
        raise ValueError(f"render_mode is {render_mode!r}: give rgb_array or leave it out")
