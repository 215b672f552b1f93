"""Accounts of games: raw returns, lengths, and which steps auto-reset invented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.types import EnvStep


class EpisodeTracker:
    """Turns what a next-step auto-reset engine reports into ``EnvStep``.

    The return of a game is the sum of its raw rewards. It is cleared on game over and on truncation, never on
    the loss of a life.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._return = np.zeros(num_envs, dtype=np.float64)
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)

    @property
    def ended(self) -> NDArray[np.bool_]:
        """bool [N], environments whose next step will be invented."""
        return self._ended

    def first(self, observation: NDArray[np.uint8], lives: NDArray[np.int32]) -> EnvStep:
        """The step that ``reset()`` returns; observation uint8 [N, C, H, W], lives int32 [N]."""
        n = self._num_envs
        self._return[:] = 0
        self._length[:] = 0
        self._ended = np.zeros(n, dtype=bool)
        return EnvStep(
            observation=observation,
            reward=np.zeros(n, dtype=np.float32),
            terminated=np.zeros(n, dtype=bool),
            truncated=np.zeros(n, dtype=bool),
            lives=lives,
            invented=np.ones(n, dtype=bool),
            episode_return=np.full(n, np.nan, dtype=np.float32),
            episode_length=np.zeros(n, dtype=np.int64),
        )

    def next(
        self,
        observation: NDArray[np.uint8],
        reward: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        lives: NDArray[np.int32],
    ) -> EnvStep:
        """One step, as the engine reports it; the reward of an auto-reset step is dropped.

        Args:
            observation: uint8 [N, C, H, W].
            reward: float32 [N], raw.
            terminated: bool [N], game over.
            truncated: bool [N], time limit; a game that is over at that very step counts as terminated only.
            lives: int32 [N].
        """
        invented = self._ended
        if invented.any():
            reward = np.where(invented, np.float32(0), reward)
            terminated = terminated & ~invented
            truncated = truncated & ~invented
        truncated = truncated & ~terminated
        ended = terminated | truncated
        self._return += reward
        self._length += ~invented
        episode_return = np.full(self._num_envs, np.nan, dtype=np.float32)
        episode_length = np.zeros(self._num_envs, dtype=np.int64)
        if ended.any():
            episode_return[ended] = self._return[ended]
            episode_length[ended] = self._length[ended]
            self._return[ended] = 0
            self._length[ended] = 0
        self._ended = ended
        return EnvStep(
            observation=observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            lives=lives,
            invented=invented,
            episode_return=episode_return,
            episode_length=episode_length,
        )

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Accounts of the games in flight, each array [N]."""
        return {"return": self._return.copy(), "length": self._length.copy(), "ended": self._ended.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from ``get_state()``."""
        self._return[:] = state["return"]
        self._length[:] = state["length"]
        self._ended = np.array(state["ended"], dtype=bool)
