"""What processing does to an image, among the corruptions: contrast, warps, coarse pixels, JPEG.

Images are float32 [C, H, W] in [0, 1]; lengths are pixels of an image of 224 and scale with the image.
Source: Hendrycks and Dietterich, 2019 (arXiv 1903.12261); departures as `relic_rl.evaluation.corruptions` lists them.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from relic_rl.evaluation.blurs import scale_of

Floats = NDArray[np.float32]


def contrast(image: Floats, severity: int, generator: Generator) -> Floats:
    """Differences from each channel's mean reduced to this share."""
    share = np.float32((0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1])
    mean = image.mean(axis=(1, 2), keepdims=True)
    return np.asarray((image - mean) * share + mean, dtype=np.float32)


def elastic_transform(image: Floats, severity: int, generator: Generator) -> Floats:
    """A random affine map, then smooth displacements of this standard deviation."""
    scale = scale_of(image)
    spread = (0.6, 0.8, 1.1, 1.5, 2.0)[severity - 1] * scale
    smoothness, corners = 2.4 * scale, 2.5 * spread
    height, width = image.shape[1:]
    field = generator.uniform(-1, 1, (2, height, width))
    field = ndimage.gaussian_filter(field, (0, smoothness, smoothness), mode="reflect")
    field *= spread / max(field.std(), 1e-12)
    # Three points around the middle go up to `corners` astray along each axis, which makes an affine map.
    middle, third = np.array([height, width]) / 2, min(height, width) / 3
    points = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + generator.uniform(-corners, corners, points.shape)
    matrix = np.linalg.solve(np.column_stack([points, np.ones(3)]), moved)  # [3, 2]
    y, x = np.mgrid[:height, :width]
    coordinates = np.tensordot(matrix.T, np.stack([y, x, np.ones_like(y)]), 1) + field
    warped = [ndimage.map_coordinates(plane, coordinates, order=1, mode="reflect") for plane in image]
    return np.stack(warped).astype(np.float32)


def pixelate(image: Floats, severity: int, generator: Generator) -> Floats:
    """Reduced to this share of its size, and back in squares."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]

    def squares(picture: Image.Image) -> Image.Image:
        small = (max(int(picture.width * share), 1), max(int(picture.height * share), 1))
        return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)

    return _through_pictures(image, squares)


def jpeg_compression(image: Floats, severity: int, generator: Generator) -> Floats:
    """Through a JPEG file of this quality."""
    quality = (25, 18, 15, 10, 7)[severity - 1]

    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _through_pictures(image, compressed)


def _through_pictures(image: Floats, change: Callable[[Image.Image], Image.Image]) -> Floats:
    """An image changed as one picture if it is RGB, else each channel as a grey one."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if len(levels) == 3:
        done = np.asarray(change(Image.fromarray(levels.transpose(1, 2, 0)))).transpose(2, 0, 1)
    else:
        done = np.stack([np.asarray(change(Image.fromarray(plane))) for plane in levels])
    return np.asarray(done, dtype=np.float32) / np.float32(255)
