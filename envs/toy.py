"""Small image environments, stepped in numpy, that run anywhere and can be restored exactly.

``relic/Catch-v0`` is learned by a small convolutional network within minutes on one core. ``relic/Recall-v0``
cannot be learned without memory. ``relic/Counting-v0`` is for tests: its images say which step of which game
of which environment they show, so that nothing about time can be got wrong unnoticed.

Everything random in game e of environment i is drawn from (seed of i, e), so no generator has to be saved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.episodes import EpisodeTracker
from envs.types import EnvStep

_CELLS = 10  # images are boards of 10 x 10 cells


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

    def __init__(self, seeds: Sequence[int], *, size: int = 40, max_episode_steps: int | None = None) -> None:
        if size <= 0 or size % _CELLS:
            raise ValueError(f"size is {size}: give a multiple of {_CELLS}")
        n = len(seeds)
        self.num_envs = n
        self.observation_shape = (1, size, size)
        self.frame_skip = 1
        self.stack = 1
        self._scale = size // _CELLS
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
            self._begin(int(i), np.random.default_rng((self._seeds[i], int(self._episode[i]))))

    def _lives(self) -> NDArray[np.int32]:
        """int32 [N]."""
        return np.zeros(self.num_envs, dtype=np.int32)

    def _image(self) -> NDArray[np.uint8]:
        """uint8 [N, 1, size, size]: the cells, enlarged."""
        return self._cells().repeat(self._scale, axis=1).repeat(self._scale, axis=2)[:, None]

    @abstractmethod
    def _begin(self, i: int, rng: np.random.Generator) -> None:
        """Set up the board of environment ``i``."""

    @abstractmethod
    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Reward, terminated and truncated, each [N], of the step number ``self._step``."""

    @abstractmethod
    def _cells(self) -> NDArray[np.uint8]:
        """The board, uint8 [N, 10, 10]."""


class Catch(ToyEnv):
    """A ball falls one row a step; the paddle in the bottom row must be under it: reward 1, else -1.

    Actions: 0 left, 1 stay, 2 right. A game lasts 9 steps. The best return is 1; a random player gets -0.8.
    Source: the game of Mnih et al., 2014 (https://arxiv.org/abs/1406.6247), on a board of 10 x 10.
    """

    num_actions = 3

    def __init__(self, seeds: Sequence[int], *, size: int = 40, max_episode_steps: int | None = None) -> None:
        super().__init__(seeds, size=size, max_episode_steps=max_episode_steps)
        self._board = {name: np.zeros(self.num_envs, dtype=np.int64) for name in ("ball", "paddle")}

    def _begin(self, i: int, rng: np.random.Generator) -> None:
        self._board["ball"][i] = rng.integers(_CELLS)
        self._board["paddle"][i] = _CELLS // 2

    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        self._board["paddle"][:] = np.clip(self._board["paddle"] + actions - 1, 0, _CELLS - 1)
        landed = self._step >= _CELLS - 1
        caught = self._board["ball"] == self._board["paddle"]
        reward = np.where(landed, np.where(caught, 1, -1), 0).astype(np.float32)
        return reward, landed, np.zeros_like(landed)

    def _cells(self) -> NDArray[np.uint8]:
        cells = np.zeros((self.num_envs, _CELLS, _CELLS), dtype=np.uint8)
        every = np.arange(self.num_envs)
        cells[every, self._step.clip(max=_CELLS - 1), self._board["ball"]] = 255
        cells[every, -1, self._board["paddle"]] = 255
        return cells


class Recall(ToyEnv):
    """A cue is shown in the first image only and must be answered when, steps later, the signal appears.

    Actions: 0 wait, 1 left, 2 right. The answer to the signal is rewarded with 1 if it names the side on
    which the cue was, else with -1. Pressing anything before the signal costs 0.5: enough for it not to pay
    to carry the cue along in one's own actions, which an agent that sees its previous action could do without
    any other memory. The best return is 1; without memory nothing beats 0.

    Args:
        seeds: one integer from 0 per environment; N = ``len(seeds)``.
        size: height and width of the image in pixels, a multiple of 10.
        length: decisions in a game; the cue lies ``length - 1`` steps before the signal. At least 6.
        max_episode_steps: time limit in steps; None = none.

    Raises:
        ValueError: ``length`` is below 6 (cheating would pay), or ``size`` is not a positive multiple of 10.
    """

    num_actions = 3

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        size: int = 40,
        length: int = 8,
        max_episode_steps: int | None = None,
    ) -> None:
        if length < 6:
            raise ValueError(f"length is {length}: give at least 6")
        super().__init__(seeds, size=size, max_episode_steps=max_episode_steps)
        self._length = length
        self._board = {"right": np.zeros(self.num_envs, dtype=np.int64)}

    def _begin(self, i: int, rng: np.random.Generator) -> None:
        self._board["right"][i] = rng.integers(2)

    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        answered = self._step >= self._length
        correct = actions == 1 + self._board["right"]
        reward = np.where(answered, np.where(correct, 1, -1), -0.5 * (actions != 0))
        return reward.astype(np.float32), answered, np.zeros_like(answered)

    def _cells(self) -> NDArray[np.uint8]:
        cells = np.zeros((self.num_envs, _CELLS, _CELLS), dtype=np.uint8)
        half = _CELLS // 2
        first = self._step == 0
        cells[first & (self._board["right"] == 0), 2:-2, :half] = 255
        cells[first & (self._board["right"] == 1), 2:-2, half:] = 255
        signal = self._step == self._length - 1
        cells[signal, half - 1 : half + 1, :] = 255
        cells[signal, :, half - 1 : half + 1] = 255
        return cells


class Counts(NamedTuple):
    """What an image of ``Counting`` says, each int64 [...]: modulo 256."""

    step: NDArray[np.int64]
    episode: NDArray[np.int64]
    env: NDArray[np.int64]


class Counting(ToyEnv):
    """Images that say where in time they are, to prove what is done with them.

    Game e of environment i lasts ``length + (i + e) % 3`` steps, so that games end at different times. Games
    of even number end with ``terminated``, those of odd number with ``truncated``. The reward is 1 + action.
    A life is lost at every second step until none is left, which ends nothing.

    Args:
        seeds: one integer from 0 per environment (nothing here is random); N = ``len(seeds)``.
        size: height and width of the image in pixels, a multiple of 10.
        length: least number of steps in a game.
        max_episode_steps: time limit in steps; None = none.
    """

    num_actions = 4

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        size: int = 40,
        length: int = 5,
        max_episode_steps: int | None = None,
    ) -> None:
        super().__init__(seeds, size=size, max_episode_steps=max_episode_steps)
        self._least = length
        self._env = np.arange(self.num_envs)

    def _begin(self, i: int, rng: np.random.Generator) -> None:
        pass  # the number of the game is all there is to it

    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        last = self._step >= self._least + (self._env + self._episode) % 3
        even = self._episode % 2 == 0
        return (1 + actions).astype(np.float32), last & even, last & ~even

    def _lives(self) -> NDArray[np.int32]:
        return np.clip(3 - self._step // 2, 0, None).astype(np.int32)

    def _cells(self) -> NDArray[np.uint8]:
        cells = np.zeros((self.num_envs, _CELLS, _CELLS), dtype=np.uint8)
        for row, value in enumerate((self._step, self._episode, self._env)):
            cells[:, row] = (value % 256)[:, None]
        return cells


def read_counts(observation: NDArray[np.uint8]) -> Counts:
    """What images of ``Counting``, uint8 [..., 1, size, size], say."""
    scale = observation.shape[-1] // _CELLS
    return Counts(*(observation[..., 0, row * scale, 0].astype(np.int64) for row in range(3)))


TOYS: Mapping[str, type[ToyEnv]] = MappingProxyType(
    {"relic/Catch-v0": Catch, "relic/Recall-v0": Recall, "relic/Counting-v0": Counting}
)
"""The toys by id."""
