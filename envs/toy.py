"""Small image environments, stepped in numpy, that run anywhere and can be restored exactly.

``relic/Catch-v0`` is learned by a small convolutional network within minutes on one core. ``relic/Recall-v0``
cannot be learned without memory. ``relic/Counting-v0`` is for tests: its images say which step of which game
of which environment they show, so that nothing about time can be got wrong unnoticed. ``relic/StyleShift-v0`` has a
module of its own.

Everything random in game e of environment i is drawn from (seed of i, e), so no generator has to be saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.style_shift import StyleShift, StyleShiftTest
from envs.toy_env import CELLS, CellBoard, ToyEnv


class Catch(CellBoard):
    """A ball falls one row a step; the paddle in the bottom row must be under it: reward 1, else -1.

    Actions: 0 left, 1 stay, 2 right. A game lasts 9 steps. The best return is 1; a random player gets -0.8.
    Source: the game of Mnih et al., 2014 (https://arxiv.org/abs/1406.6247), on a board of 10 x 10.
    """

    num_actions = 3
    random_return = -0.8  # the ball's column does not depend on the paddle's: one in ten is caught

    def __init__(self, seeds: Sequence[int], *, size: int = 40, max_episode_steps: int | None = None) -> None:
        super().__init__(seeds, size=size, max_episode_steps=max_episode_steps)
        self._board = {name: np.zeros(self.num_envs, dtype=np.int64) for name in ("ball", "paddle")}

    def _begin(self, i: int, rng: np.random.Generator) -> None:
        self._board["ball"][i] = rng.integers(CELLS)
        self._board["paddle"][i] = CELLS // 2

    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        self._board["paddle"][:] = np.clip(self._board["paddle"] + actions - 1, 0, CELLS - 1)
        landed = self._step >= CELLS - 1
        caught = self._board["ball"] == self._board["paddle"]
        reward = np.where(landed, np.where(caught, 1, -1), 0).astype(np.float32)
        return reward, landed, np.zeros_like(landed)

    def _cells(self) -> NDArray[np.uint8]:
        cells = np.zeros((self.num_envs, CELLS, CELLS), dtype=np.uint8)
        every = np.arange(self.num_envs)
        cells[every, self._step.clip(max=CELLS - 1), self._board["ball"]] = 255
        cells[every, -1, self._board["paddle"]] = 255
        return cells


class Recall(CellBoard):
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
        cells = np.zeros((self.num_envs, CELLS, CELLS), dtype=np.uint8)
        half = CELLS // 2
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


class Counting(CellBoard):
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
        cells = np.zeros((self.num_envs, CELLS, CELLS), dtype=np.uint8)
        for row, value in enumerate((self._step, self._episode, self._env)):
            cells[:, row] = (value % 256)[:, None]
        return cells


def read_counts(observation: NDArray[np.uint8]) -> Counts:
    """What images of ``Counting``, uint8 [..., 1, size, size], say."""
    scale = observation.shape[-1] // CELLS
    return Counts(*(observation[..., 0, row * scale, 0].astype(np.int64) for row in range(3)))


TOYS: Mapping[str, type[ToyEnv]] = MappingProxyType(
    {
        "relic/Catch-v0": Catch,
        "relic/Recall-v0": Recall,
        "relic/Counting-v0": Counting,
        "relic/StyleShift-v0": StyleShift,
        "relic/StyleShiftTest-v0": StyleShiftTest,
    }
)
"""The toys by id."""

UNSEEN_STYLES: Mapping[str, str] = MappingProxyType({"relic/StyleShift-v0": "relic/StyleShiftTest-v0"})
"""The id under which a toy shows styles that it keeps from training, by its own id."""
