"""Interventions on the style of a screen: what it shows stays, how it looks changes.

Each is a function of frames and a severity from 1 to 5, the same for every frame but for noise. They are of the kinds
of Hendrycks and Dietterich, 2019 (https://arxiv.org/abs/1903.12261), in forms that suit small grey screens: strengths
are in grey levels, lengths in pixels of a screen of 84 x 84, scaled to the smaller side of others but never so far down
that a severity would change nothing or no more than the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
"""uint8 [N, C, H, W], one frame of each of N screens (C = 1 grey, 3 RGB)."""

SEVERITIES = range(1, 6)
_SCREEN = 84  # pixels, the side that lengths are given for


def brightness(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Every grey level raised by 20, 40, 60, 80, 100, at most to 255."""
    return _looked_up(frames, np.arange(256) + 20.0 * severity)


def contrast(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Distances from the middle grey level shrunk to 0.8, 0.6, 0.45, 0.3, 0.2 of what they were."""
    return _looked_up(frames, 127.5 + (np.arange(256) - 127.5) * _choice(severity, 0.8, 0.6, 0.45, 0.3, 0.2))


def gamma(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """255 (level / 255)^g, darker in between: g = 1.25, 1.5, 2, 2.75, 4."""
    return _looked_up(frames, 255 * (np.arange(256) / 255) ** _choice(severity, 1.25, 1.5, 2.0, 2.75, 4.0))


def inversion(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Black and white exchanged in as many fifths of the screen, from the top; at 5 everywhere.

    Part of the screen rather than part of the way: halfway between a screen and its negative there is nothing to see.
    """
    rows = math.ceil(frames.shape[2] * severity / 5)
    changed = frames.copy()
    changed[:, :, :rows] = 255 - changed[:, :, :rows]
    return changed


def noise(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Gaussian noise on every pixel, standard deviation 8, 16, 26, 38, 55 grey levels, drawn anew for every frame."""
    drawn = rng.standard_normal(frames.shape, dtype=np.float32)
    return _levels(frames + drawn * np.float32(_choice(severity, 8, 16, 26, 38, 55)))


def blur(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Gaussian blur, standard deviation 0.5, 0.8, 1.2, 1.8, 2.6 pixels; beyond the border its pixels are repeated.

    On small screens at least 0.4, 0.5, ..., 0.8 pixels: below, the neighbours' weight is too small for a grey level.
    """
    sigma = max(0.3 + 0.1 * severity, _length(frames, _choice(severity, 0.5, 0.8, 1.2, 1.8, 2.6)))
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    blurred: Any = frames.astype(np.float32)
    for axis in (2, 3):
        edges = [(0, 0)] * 4
        edges[axis] = (reach, reach)
        padded = np.pad(blurred, edges, mode="edge")
        size = frames.shape[axis]
        blurred = sum(
            weight * np.take(padded, range(start, start + size), axis=axis) for start, weight in enumerate(weights)
        )
    return _levels(blurred)


def translation(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """The picture moved right and down by 1, 2, 4, 6, 9 pixels; what becomes free repeats the border.

    On small screens at least by as many pixels as the severity.
    """
    moved = max(severity, round(_length(frames, _choice(severity, 1, 2, 4, 6, 9))))
    rows = np.maximum(np.arange(frames.shape[2]) - moved, 0)
    columns = np.maximum(np.arange(frames.shape[3]) - moved, 0)
    return frames[:, :, rows[:, None], columns]


def border(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """A middle grey frame over the outer 2, 4, 6, 8, 10 pixels of each side.

    On small screens at least as many pixels wide as the severity.
    """
    width = max(severity, round(_length(frames, 2 * severity)))
    covered = np.full_like(frames, 128)
    covered[:, :, width:-width, width:-width] = frames[:, :, width:-width, width:-width]
    return covered


def scanlines(frames: Frames, severity: int, rng: np.random.Generator) -> Frames:
    """Every other row darkened to 0.8, 0.6, 0.4, 0.2, 0 of its grey level."""
    changed = frames.copy()
    changed[:, :, 1::2] = _looked_up(frames[:, :, 1::2], np.arange(256) * (1 - 0.2 * severity))
    return changed


SCREEN_STYLES: Mapping[str, Callable[[Frames, int, np.random.Generator], Frames]] = MappingProxyType(
    {
        change.__name__: change
        for change in (brightness, contrast, gamma, inversion, noise, blur, translation, border, scanlines)
    }
)
"""By name; each maps frames, severity and a generator to new frames. Only noise draws from the generator."""


def _choice(severity: int, *strengths: float) -> float:
    return strengths[severity - 1]


def _length(frames: Frames, pixels: float) -> float:
    """A length on these screens, pixels."""
    return float(pixels * min(frames.shape[2:]) / _SCREEN)


def _looked_up(frames: Frames, levels: NDArray[Any]) -> Frames:
    """Each grey level replaced by ``levels[level]``."""
    return _levels(levels)[frames]


def _levels(values: NDArray[Any]) -> Frames:
    """Numbers as the nearest grey levels."""
    rounded: Frames = values.round().clip(0, 255).astype(np.uint8)
    return rounded
