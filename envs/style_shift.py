"""Catching in ever new styles: a control task from pixels whose reward depends on content alone.

Each game draws a style that says nothing about what to do: grey levels, contrast, which of figure and ground is the
brighter, a texture on the figures, a pattern behind them. Some values of each factor are kept from training.
``relic/StyleShift-v0`` shows the training styles, ``relic/StyleShiftTest-v0`` the others; both play the same games, so
that what an agent loses between them it loses to style.

The setting is that of RELIC's assumptions (Mitrovic et al., 2021, sec. 2): content and style are drawn independently,
and only content matters. Held-out styles for judging agents follow Cobbe et al., 2019 (https://arxiv.org/abs/1812.02341).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.toy_env import CELLS, ToyEnv

Styles = Literal["train", "unseen"]
Image = NDArray[np.float32]

DROP = 8  # steps that a drop takes
COLUMNS = CELLS - 1  # places of something two cells wide
PAIRS = np.array([(ring, cross) for ring in range(COLUMNS) for cross in range(COLUMNS) if abs(ring - cross) >= 3])
"""Columns of ring and cross: so far apart that the paddle cannot touch both."""


class StyleFactors(NamedTuple):
    """What a game's style is drawn from, evenly."""

    textures: tuple[str, ...]  # of the figures
    grounds: tuple[str, ...]  # pattern behind them
    contrast: tuple[float, float]  # range of the difference between figure and ground, 1 = black against white


FACTORS: Mapping[Styles, StyleFactors] = MappingProxyType(
    {
        "train": StyleFactors(("plain", "level", "checks"), ("plain", "ramp", "clouds"), (0.4, 0.6)),
        "unseen": StyleFactors(("slanted", "speckles"), ("upright", "rings"), (0.2, 0.35)),
    }
)
"""The split. Both have figures brighter and darker than their ground."""

TEXTURE, GROUND = 0.25, 0.3  # amplitudes of the patterns, as shares of the contrast


class StyleShift(ToyEnv):
    """A ring and a cross fall side by side; the paddle is to catch the ring and to miss the cross.

    Actions: 0 left, 1 stay, 2 right, by one of 9 columns. Figures are as wide as the paddle, which touches what lands
    at most one column beside it: 1 for the ring, -1 for the cross, 0 for neither. A drop takes 8 steps, in which the
    paddle gets below anything, and it stays where it is between drops. A game has ``rounds`` drops in one style.

    Returns lie between ``-rounds`` and ``rounds``. Ring and cross change places evenly: whoever cannot tell them apart
    scores 0 on average, whatever else it does, and so does random play.

    Args:
        seeds: one integer from 0 per environment; N = ``len(seeds)``. The games that a seed gives do not depend on
            ``styles``.
        size: height and width of the image in pixels, a multiple of 10.
        rounds: drops in a game.
        styles: which values the style is drawn from: `FACTORS`.
        max_episode_steps: time limit in steps; None = none.

    Raises:
        ValueError: ``size`` is not a positive multiple of 10, ``rounds`` is below 1, or there are no such styles.
    """

    num_actions = 3
    random_return = 0.0

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        size: int = 40,
        rounds: int = 5,
        styles: Styles = "train",
        max_episode_steps: int | None = None,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}: give at least 1")
        if styles not in FACTORS:
            raise ValueError(f"unknown styles {styles!r}: choose {' or '.join(FACTORS)}")
        super().__init__(seeds, size=size, max_episode_steps=max_episode_steps)
        n = self.num_envs
        self._rounds = rounds
        self._factors = FACTORS[styles]
        self._shapes = np.stack([_ring(2 * self._scale), _cross(2 * self._scale)])
        self._board = {"paddle": np.zeros(n, dtype=np.int64)}
        # What follows from the seed and the number of the game, and need not be saved:
        self._columns = np.zeros((n, rounds, 2), dtype=np.int64)  # of ring and cross
        self._figure = np.zeros((n, size, size), dtype=np.uint8)  # the screen were it all figure
        self._ground = np.zeros((n, size, size), dtype=np.uint8)

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from ``get_state()`` of an environment with the same arguments."""
        super().set_state(state)
        for i in range(self.num_envs):
            self._draw(i, self._generator(i))

    def _begin(self, i: int, rng: np.random.Generator) -> None:
        self._board["paddle"][i] = self._draw(i, rng)

    def _draw(self, i: int, rng: np.random.Generator) -> int:
        """Draw a game, content first, so that it is the same in all styles; where the paddle starts."""
        self._columns[i] = PAIRS[rng.integers(len(PAIRS), size=self._rounds)]
        start = int(rng.integers(COLUMNS))
        self._figure[i], self._ground[i] = draw_style(self._factors, self._figure.shape[-1], rng)
        return start

    def _play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        paddle = self._board["paddle"]
        paddle[:] = np.clip(paddle + actions - 1, 0, COLUMNS - 1)
        landed = self._step % DROP == 0
        drop = (self._step // DROP - 1).clip(0, self._rounds - 1)
        columns = self._columns[np.arange(self.num_envs), drop]
        touched = np.abs(columns - paddle[:, None]) <= 1
        reward = np.where(landed, touched[:, 0].astype(np.float32) - touched[:, 1], 0).astype(np.float32)
        return reward, self._step >= DROP * self._rounds, np.zeros_like(landed)

    def _image(self) -> NDArray[np.uint8]:
        n, scale = self.num_envs, self._scale
        every = np.arange(n)
        drop = np.minimum(self._step // DROP, self._rounds - 1)  # at the end the last one lies where it landed
        row = self._step - DROP * drop
        mask = np.zeros((n, CELLS, scale, CELLS, scale), dtype=bool)
        for side in (0, 1):
            mask[every, -1, :, self._board["paddle"] + side] = True
        for shape, column in zip(self._shapes, self._columns[every, drop].T, strict=True):
            for down in (0, 1):
                for side in (0, 1):
                    part = shape[down * scale : (down + 1) * scale, side * scale : (side + 1) * scale]
                    mask[every, row + down, :, column + side] |= part
        return np.where(mask.reshape(self._figure.shape), self._figure, self._ground)[:, None]


class StyleShiftTest(StyleShift):
    """`StyleShift` in the styles that it keeps from training."""

    def __init__(
        self, seeds: Sequence[int], *, size: int = 40, rounds: int = 5, max_episode_steps: int | None = None
    ) -> None:
        super().__init__(seeds, size=size, rounds=rounds, styles="unseen", max_episode_steps=max_episode_steps)


def draw_style(
    factors: StyleFactors, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The grey levels of figure and of ground at every pixel, each uint8 [size, size].

    Figure and ground do not touch: the patterns take at most 55 % of the contrast between them.
    """
    texture = pattern(str(rng.choice(factors.textures)), size, rng)
    ground = pattern(str(rng.choice(factors.grounds)), size, rng)
    contrast = rng.uniform(*factors.contrast)
    # The darker of the two anywhere such that nothing is clipped.
    below, above = (TEXTURE, GROUND) if rng.random() < 0.5 else (GROUND, TEXTURE)
    darker = rng.uniform(contrast * below, 1 - contrast * (1 + above))
    levels = (darker, darker + contrast) if below == TEXTURE else (darker + contrast, darker)
    layers = (levels[0] + contrast * TEXTURE * texture, levels[1] + contrast * GROUND * ground)
    figure, behind = ((255 * layer).round().astype(np.uint8) for layer in layers)
    return figure, behind


def pattern(kind: str, size: int, rng: np.random.Generator) -> Image:
    """A pattern over the screen, float32 [size, size] in [-1, 1].

    Args:
        kind: plain; stripes: level, upright, slanted; checks; speckles (of 2 x 2 pixels at size 40); clouds; ramp (one
            side brighter); rings (around some place).
        size: height and width in pixels.
        rng: draws period, phase, direction.
    """
    y, x = np.mgrid[:size, :size] / size  # 0 to 1
    period, phase, other = rng.uniform(0.1, 0.2), *rng.uniform(0, 2 * np.pi, size=2)
    turns = 2 * np.pi / period

    def wave(of: NDArray[Any], start: float) -> NDArray[Any]:
        return np.sin(turns * of + start)

    match kind:
        case "plain":
            values = np.zeros((size, size))
        case "level":
            values = wave(y, phase)
        case "upright":
            values = wave(x, phase)
        case "slanted":
            values = wave((x + np.sign(other - np.pi) * y) / np.sqrt(2), phase)
        case "checks":
            values = np.sign(wave(x, phase) * wave(y, other))
        case "speckles":
            values = _enlarged(rng.choice([-1.0, 1.0], size=(20, 20)), size)
        case "clouds":
            values = _clouds(rng, size)
        case "ramp":
            across, down = np.cos(phase), np.sin(phase)
            values = (across * (2 * x - 1) + down * (2 * y - 1)) / (abs(across) + abs(down))
        case "rings":
            values = wave(np.hypot(x - 0.5 - 0.3 * np.cos(phase), y - 0.5 - 0.3 * np.sin(phase)), other)
        case _:
            raise ValueError(f"unknown pattern {kind!r}")
    return values.astype(np.float32)


def _ring(size: int) -> NDArray[np.bool_]:
    """bool [size, size]."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    distance = np.hypot(axis[:, None], axis)
    mask: NDArray[np.bool_] = (distance <= 1) & (distance >= 0.5)
    return mask


def _cross(size: int) -> NDArray[np.bool_]:
    """bool [size, size]: an X, of 1.4 times as many pixels as the ring."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    mask: NDArray[np.bool_] = np.minimum(abs(axis[:, None] - axis), abs(axis[:, None] + axis)) <= 0.5
    return mask


def _clouds(rng: np.random.Generator, size: int) -> NDArray[Any]:
    """Smooth noise: a grid of 5 x 5 random numbers, interpolated."""
    grid = rng.uniform(-1, 1, size=(5, 5))
    place = np.linspace(0, 4, size)
    across = np.array([np.interp(place, np.arange(5), row) for row in grid])
    return np.array([np.interp(place, np.arange(5), column) for column in across.T]).T


def _enlarged(grid: NDArray[Any], size: int) -> NDArray[Any]:
    """Nearest neighbours of a square grid at size x size."""
    index = np.arange(size) * len(grid) // size
    return grid[np.ix_(index, index)]
