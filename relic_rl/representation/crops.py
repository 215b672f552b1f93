"""Random resized crops: which box of an image a view shows.

Source: Szegedy et al., 2015 (arXiv 1409.4842), section 6; the rule is torchvision's RandomResizedCrop.

Departure: four attempts to fit a box of the drawn shape into the image instead of ten, so that the numbers that
a crop needs are of a fixed, small count. The last resort, the largest central box of an allowed shape, is
needed for 1 in 300 photographs (3:2, areas 0.08 to 1) instead of 1 in 10^6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ATTEMPTS = 4
CROP_DRAWS = 2 * ATTEMPTS + 2
"""Uniform numbers that one crop consumes: area and shape of each attempt, then the place."""

Floats = NDArray[np.floating]


def crop_boxes(
    uniform: Floats, height: Floats, width: Floats, area: tuple[float, float], ratio: tuple[float, float]
) -> NDArray[np.float64]:
    """Boxes of B images, in units of their height and width.

    Args:
        uniform: [B, CROP_DRAWS], from [0, 1).
        height: [B], pixels.
        width: [B], pixels.
        area: least and greatest share of the image's area.
        ratio: least and greatest width / height of the box in pixels; its logarithm is even.

    Returns:
        float64 [B, 4]: top, left, height and width, all in [0, 1].
    """
    height, width = np.asarray(height, dtype=np.float64)[:, None], np.asarray(width, dtype=np.float64)[:, None]
    uniform = uniform.astype(np.float64)
    share = area[0] + (area[1] - area[0]) * uniform[:, :ATTEMPTS]
    shape = np.exp(np.log(ratio[0]) + np.log(ratio[1] / ratio[0]) * uniform[:, ATTEMPTS : 2 * ATTEMPTS])
    pixels = share * height * width
    tall, wide = np.sqrt(pixels / shape) / height, np.sqrt(pixels * shape) / width
    fits = (tall <= 1) & (wide <= 1)
    # Nothing fits: the whole image, trimmed to an allowed shape, from its middle.
    whole = width / height
    last_wide = np.minimum(1, ratio[1] / whole)
    last_tall = np.minimum(1, whole / ratio[0])
    rows, first = np.arange(len(uniform)), fits.argmax(axis=1)
    any_fits = fits.any(axis=1)
    box_height = np.where(any_fits, tall[rows, first], last_tall[:, 0])
    box_width = np.where(any_fits, wide[rows, first], last_wide[:, 0])
    top = (1 - box_height) * np.where(any_fits, uniform[:, -2], 0.5)
    left = (1 - box_width) * np.where(any_fits, uniform[:, -1], 0.5)
    return np.stack([top, left, box_height, box_width], axis=1)
