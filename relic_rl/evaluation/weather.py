"""The weather among the corruptions: snow, frost, fog, bright light.

Images are float32 [C, H, W] in [0, 1]; lengths are pixels of an image of 224 and scale with the image.
Source: Hendrycks and Dietterich, 2019 (arXiv 1903.12261); departures as `relic_rl.evaluation.corruptions` lists them.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from relic_rl.evaluation.blurs import enlarged, filtered, scale_of, streak

Floats = NDArray[np.float32]
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def fractal(height: int, width: int, decay: float, generator: Generator) -> Floats:
    """A cloud, float32 [H, W] from 0 to 1: octaves of noise, each twice as fine and 1 / `decay` as strong."""
    side = max(height, width)
    total = np.zeros((height, width), dtype=np.float64)
    for octave in range(int(np.ceil(np.log2(side))) + 1):
        knots = 2**octave + 1
        noise = generator.uniform(-1, 1, (knots, knots))
        y, x = np.linspace(0, knots - 1, height), np.linspace(0, knots - 1, width)
        total += ndimage.map_coordinates(noise, np.meshgrid(y, x, indexing="ij"), order=1) / decay**octave
    total -= total.min()
    return np.asarray(total / max(total.max(), 1e-12), dtype=np.float32)


def snow(image: Floats, severity: int, generator: Generator) -> Floats:
    """The image whitened, flakes falling across it and across it upside down."""
    mean, spread, size, threshold, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    scale = scale_of(image)
    noise = generator.normal(mean, spread, image.shape[1:]).astype(np.float32)
    flakes = enlarged(noise, max(size * scale, 1.0))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1).astype(np.float32)
    flakes = filtered(flakes[None], streak(radius * scale, sigma * scale, generator.uniform(45, 135)))[0]
    grey = np.tensordot(_LUMA, image, 1)[None] if len(image) == 3 else image
    white = np.float32(kept) * image + np.float32(1 - kept) * np.maximum(image, grey * 1.5 + 0.5)
    return np.asarray(white + flakes + np.rot90(flakes, 2), dtype=np.float32)


def frost(image: Floats, severity: int, generator: Generator) -> Floats:
    """The image dimmed behind crystals, which are bluish where the image has colours."""
    image_share, frost_share = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    height, width = image.shape[1:]
    ridges = (1 - np.abs(2 * fractal(height, width, 1.6, generator) - 1)) ** 3
    crystals = 0.15 + 0.85 * ridges * fractal(height, width, 2.0, generator)
    tint = np.array([0.88, 0.96, 1.0], dtype=np.float32) if len(image) == 3 else np.ones(1, dtype=np.float32)
    return np.asarray(image_share * image + frost_share * tint[:, None, None] * crystals, dtype=np.float32)


def fog(image: Floats, severity: int, generator: Generator) -> Floats:
    """A cloud added, and all of it dimmed to the brightest value that there was."""
    strength, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    brightest = image.max()
    height, width = image.shape[1:]
    cloud = fractal(height, width, decay, generator)
    return np.asarray((image + strength * cloud) * (brightest / (brightest + strength)), dtype=np.float32)


def brightness(image: Floats, severity: int, generator: Generator) -> Floats:
    """The value of HSV raised, hue and saturation kept."""
    added = np.float32((0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])
    value = image.max(axis=0, keepdims=True) if len(image) == 3 else image
    raised = np.minimum(value + added, 1)
    black = value == 0  # has no hue: it becomes grey
    return np.asarray(np.where(black, raised, image * (raised / np.where(black, 1, value))), dtype=np.float32)
