"""What the toys share: time, auto-reset, restoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.episodes import EpisodeTracker
from envs.types import EnvStep

CELLS = 10  # boards have 10 x 10 cells


class ToyEnv(ABC):
    """N boards stepped together, with next-step auto-reset.

    Args:
        seeds: one integer from 0 per environment; N = ``len(seeds)``.
        size: height and width of the image in pixels, a multiple of 10.
        max_episode_steps: time limit in steps; None = none.

    Raises:
        ValueError: ``size`` is not a positive multiple of 10.
    """

    num_actions: ClassVar[int]
    random_return: ClassVar[float | None] = None
    """Mean return of random play; None where it depends on the arguments."""

    def __init__(self, seeds: Sequence[int], *, size: int = 40, max_episode_steps: int | None = None) -> None:
        if size <= 0 or size % CELLS:
            raise ValueError(f"size is {size}: give a multiple of {CELLS}")
        n = len(seeds)
        self.num_envs = n
        self.observation_shape = (1, size, size)
        self.frame_skip = 1
        self.stack = 1
        self._scale = size // CELLS
        self._limit = np.inf if max_episode_steps is None else max_episode_steps
        self._seeds = tuple(seeds)
        self._tracker = EpisodeTracker(n)
        self._episode = np.full(n, -1, dtype=np.int64)  # number of the game, from 0
        self._step = np.zeros(n, dtype=np.int64)  # steps since its first observation
        self._board: dict[str, NDArray[np.int64]] = {}  # what else a game remembers, each [N]

    def reset(self) -> EnvStep:
        """Start the next game in every environment."""
        self._start(np.arange(self.num_envs))
        return self._tracker.first(self._image(), self._lives())

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one step; ``actions`` int64 [N]."""
        over = self._tracker.ended
        self._step += 1
        reward, terminated, truncated = self._play(actions)
        truncated = truncated | (self._step >= self._limit)
        if over.any():
            self._start(np.flatnonzero(over))
        return self._tracker.next(self._image(), reward, terminated, truncated, self._lives())

    def close(self) -> None:  # noqa: B027 (not abstract: there is nothing to free)
        """Nothing to free."""

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything needed to continue exactly, as arrays [N] of numbers."""
        own = {"episode": self._episode, "step": self._step} | self._board
        return {name: value.copy() for name, value in own.items()} | {
            f"game_{name}": value for name, value in self._tracker.get_state().items()
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from ``get_state()`` of an environment with the same arguments."""
        for name, value in ({"episode": self._episode, "step": self._step} | self._board).items():
            value[:] = state[name]
        games = self._tracker.get_state()
        self._tracker.set_state({name: state[f"game_{name}"] for name in games})

    def _start(self, which: NDArray[np.int64]) -> None:
        """Begin the next game in the environments ``which``."""
        self._episode[which] += 1
        self._step[which] = 0
        for i in which:
            self._begin(int(i), self._generator(int(i)))

    def _generator(self, i: int) -> np.random.Generator:
        """Everything random in the game under way in environment ``i`` is drawn from this."""
        return np.random.default_rng((self._seeds[i], int(self._episode[i])))

    def _lives(self) -> NDArray[np.int32]:
        """int32 [N]."""
        return np.zeros(self.num_envs, dtype=np.int32)

    @abstractmethod
    def _begin(self, i: int, rng: np.random.Generator) -> None:
        """Set up the board of environment ``i``."""

    @abstractmethod
    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Reward, terminated and truncated, each [N], of the step number ``self._step``."""

    @abstractmethod
    def _image(self) -> NDArray[np.uint8]:
        """What is seen, uint8 [N, 1, size, size]."""


class CellBoard(ToyEnv):
    """A toy whose images are cells of one grey level each."""

    def _image(self) -> NDArray[np.uint8]:
        return self._cells().repeat(self._scale, axis=1).repeat(self._scale, axis=2)[:, None]

    @abstractmethod
    def _cells(self) -> NDArray[np.uint8]:
        """The board, uint8 [N, 10, 10]."""
