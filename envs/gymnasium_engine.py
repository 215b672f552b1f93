"""Any gymnasium environment with images to see and discrete actions to take.

Ids are gymnasium's own: ``Name-v0``, ``namespace/Name-v0``, or ``module:Name-v0``, which imports ``module``
first so that it can register its environments. Images are uint8: H x W, H x W x C or C x H x W, of any size;
the last axis is taken for the channels if it is no longer than the first. They are neither resized nor turned
grey.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from envs.episodes import EpisodeTracker
from envs.ids import nearest_games
from envs.types import EnvStep


class GymnasiumImages:
    """N copies of a gymnasium environment, stepped one after the other.

    Args:
        env_id: what gymnasium calls it.
        seeds: one integer from 0 per environment; N = ``len(seeds)``.
        stack: images per observation, oldest first; after a reset the first one is repeated.
        max_episode_steps: time limit in agent steps; None = the environment's own.
        **options: passed on to the environment's constructor.

    Raises:
        ValueError: there is no such environment, or it has no uint8 images or no discrete actions.
    """

    def __init__(
        self,
        env_id: str,
        seeds: Sequence[int],
        *,
        stack: int = 1,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        if stack < 1:
            raise ValueError(f"stack is {stack}: give at least 1")

        def make() -> gymnasium.Env[Any, Any]:
            return gymnasium.make(env_id, max_episode_steps=max_episode_steps, disable_env_checker=True, **options)

        require_known(env_id)
        try:
            self._engine: Any = SyncVectorEnv([make] * len(seeds), autoreset_mode=AutoresetMode.NEXT_STEP)
        except Exception as error:  # whatever the environment's own constructor may raise
            raise ValueError(f"cannot build {env_id!r}: {_one_line(error)}") from error
        try:
            self._channel_axis, image = _image_layout(env_id, self._engine.single_observation_space)
            self.num_actions, self._first_action = _action_range(env_id, self._engine.single_action_space)
        except ValueError:
            self._engine.close()
            raise
        self.num_envs = len(seeds)
        self.frame_skip = 1
        self.observation_shape = (stack * image[0], *image[1:])
        self._channels = image[0]
        self.stack = stack
        self._seeds: list[int] | None = list(seeds)
        self._observation = np.zeros((self.num_envs, *self.observation_shape), dtype=np.uint8)
        self._tracker = EpisodeTracker(self.num_envs)

    def reset(self) -> EnvStep:
        """Start a new game in every environment; the streams of random numbers go on."""
        images, info = self._engine.reset(seed=self._seeds)
        self._seeds = None  # a second reset must not replay the games of the first
        self._push(images, np.ones(self.num_envs, dtype=bool))
        return self._tracker.first(self._observation, self._lives(info))

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N]."""
        images, reward, terminated, truncated, info = self._engine.step(actions + self._first_action)
        self._push(images, self._tracker.ended)
        return self._tracker.next(
            self._observation, reward.astype(np.float32), terminated, truncated, self._lives(info)
        )

    def close(self) -> None:
        """Close every environment."""
        self._engine.close()

    def _push(self, images: NDArray[np.uint8], first: NDArray[np.bool_]) -> None:
        """Append the newest images to the stacks, in new memory; ``first`` bool [N] starts a stack anew."""
        axis = self._channel_axis
        images = images[:, None] if axis is None else np.moveaxis(images, 1 + axis, 1)
        stacked = np.empty_like(self._observation)
        stacked.reshape(self.num_envs, self.stack, *images.shape[1:])[:] = images[:, None]
        if self.stack > 1:
            later = ~first
            stacked[later, : -self._channels] = self._observation[later, self._channels :]
        self._observation = stacked

    def _lives(self, info: dict[str, Any]) -> NDArray[np.int32]:
        """int32 [N], for environments that tell."""
        return np.array(info.get("lives", np.zeros(self.num_envs)), dtype=np.int32)


def check(env_id: str) -> None:
    """Build the environment once to see that it can be used.

    Raises:
        ValueError: as ``GymnasiumImages``.
    """
    GymnasiumImages(env_id, [0]).close()


def require_known(env_id: str) -> None:
    """Import the module of a ``module:Name-v0`` id and look the name up.

    Raises:
        ValueError: no such module, or no environment of that name.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gymnasium.spec(name)
    except gymnasium.error.Error as error:
        hint = nearest_games(env_id) or _one_line(error)
        raise ValueError(f"unknown environment {env_id!r}: {hint}") from error
    except Exception as error:  # whatever the module may raise
        raise ValueError(f"cannot import module {module!r} of {env_id!r}: {_one_line(error)}") from error


def _image_layout(env_id: str, space: gymnasium.Space[Any]) -> tuple[int | None, tuple[int, int, int]]:
    """Axis of the channels (None = there is none) and (C, H, W)."""
    if not isinstance(space, Box) or space.dtype != np.uint8 or len(space.shape) not in {2, 3}:
        raise ValueError(f"{env_id} shows {_describe(space)}, not uint8 images: choose one that does, or wrap it")
    if len(space.shape) == 2:
        height, width = space.shape
        return None, (1, height, width)
    if space.shape[2] <= space.shape[0]:
        height, width, channels = space.shape
        return 2, (channels, height, width)
    channels, height, width = space.shape
    return 0, (channels, height, width)


def _action_range(env_id: str, space: gymnasium.Space[Any]) -> tuple[int, int]:
    """Number of actions and the first one."""
    if not isinstance(space, Discrete):
        kind = "continuous actions" if isinstance(space, Box) else "actions that are not Discrete"
        raise ValueError(f"{env_id} has {kind} ({_describe(space)}): choose an environment with Discrete actions")
    return int(space.n), int(space.start)


def _describe(space: gymnasium.Space[Any]) -> str:
    """Kind, shape and type: printing a Box prints its bounds."""
    return f"{type(space).__name__} {space.shape} {space.dtype}"


def _one_line(error: Exception) -> str:
    """What an error says, in at most 200 characters of one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
