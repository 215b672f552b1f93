"""What every environment of the project looks like to the code that plays it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class EnvStep(NamedTuple):
    """One step of N environments; ``reset()`` returns one too (C, H, W: channels, height, width).

    Auto-reset is next-step: the step that ends a game carries the game's true final observation; the step
    after it ignores the action and carries the first observation of the next game, with ``invented`` set and
    reward 0. The arrays are new at every step: no engine writes to them again, and callers may keep them but
    must not write to them.
    """

    observation: NDArray[np.uint8]
    """uint8 [N, C, H, W], 0 to 255. Atari: C = stacked frames, oldest first, 84 x 84."""
    reward: NDArray[np.float32]
    """float32 [N], raw: neither clipped nor scaled."""
    terminated: NDArray[np.bool_]
    """bool [N], the game is over. A lost life does not count."""
    truncated: NDArray[np.bool_]
    """bool [N], the time limit was reached and the game is not over. Never together with ``terminated``."""
    lives: NDArray[np.int32]
    """int32 [N], lives left; 0 where the environment has none."""
    invented: NDArray[np.bool_]
    """bool [N], the auto-reset step, or ``reset()``: the action was ignored, no transition happened."""
    episode_return: NDArray[np.float32]
    """float32 [N], sum of raw rewards of the whole game at ``terminated | truncated``, else nan."""
    episode_length: NDArray[np.int64]
    """int64 [N], agent steps of the whole game at ``terminated | truncated``, else 0."""


class VectorEnv(Protocol):
    """N environments stepped together, all with the same observation shape and the same discrete actions."""

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def num_actions(self) -> int:
        """Actions are the integers from 0 to ``num_actions - 1``."""
        ...

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    @property
    def stack(self) -> int:
        """Frames stacked along the channels of an observation, oldest first; after a reset the first is repeated."""
        ...

    @property
    def frame_skip(self) -> int:
        """Emulator frames per agent step; 1 outside Atari. frames = frame_skip * agent steps."""
        ...

    def reset(self) -> EnvStep:
        """Start a new game in every environment; ``invented`` is True everywhere."""
        ...

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N]."""
        ...

    def close(self) -> None:
        """Free the engine; the environment is unusable afterwards."""
        ...
