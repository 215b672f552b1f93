"""The blurs among the corruptions: out of focus, through frosted glass, in motion, while zooming.

Images are float32 [C, H, W] in [0, 1]; lengths are pixels of an image of 224 and scale with the image.
Source: Hendrycks and Dietterich, 2019 (arXiv 1903.12261); departures as `relic_rl.evaluation.corruptions` lists them.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage, signal

Floats = NDArray[np.float32]
_REFERENCE = 224  # pixels on the side of ImageNet-C's images
_SUBPIXELS = 10  # points per pixel along each axis that a disc is made of


def scale_of(image: NDArray[np.generic]) -> float:
    """How many pixels of this image, [..., H, W], one pixel of ImageNet-C's is."""
    return float(min(image.shape[-2:])) / _REFERENCE


def filtered(image: Floats, kernel: Floats) -> Floats:
    """Each channel correlated with a kernel, float32 [K, K], K odd; the image goes on as its mirror image.

    Value (y, x) becomes the sum over (i, j) of kernel[i, j] times value (y + i - K // 2, x + j - K // 2).
    """
    reach = len(kernel) // 2
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    done = signal.fftconvolve(padded, kernel[None, ::-1, ::-1], mode="valid", axes=(1, 2))
    return np.asarray(done, dtype=np.float32)


def disc(radius: float) -> Floats:
    """A kernel: the points of a circle, each shared between the four pixels around it, together 1."""
    reach = int(np.ceil(radius))
    fine = np.linspace(-reach, reach, 2 * reach * _SUBPIXELS + 1)
    inside = (fine[:, None] ** 2 + fine[None] ** 2 <= radius**2).astype(np.float64)
    share = np.clip(1 - np.abs(np.arange(-reach, reach + 1)[:, None] - fine[None]), 0, None)  # [K, F]
    kernel = share @ inside @ share.T
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def streak(radius: float, sigma: float, degrees: float) -> Floats:
    """A kernel: half a normal curve along a line from the middle, `2 radius` long, together 1."""
    steps = np.arange(0, 2 * radius + 0.25, 0.25)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = np.deg2rad(degrees)
    reach = int(np.ceil(2 * radius)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    y, x = reach + steps * np.sin(angle), reach + steps * np.cos(angle)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):  # shared between the four pixels around
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            np.add.at(kernel, (top + down, left + right), weights * share)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def defocus_blur(image: Floats, severity: int, generator: Generator) -> Floats:
    """Every point becomes a disc."""
    return filtered(image, disc((3, 4, 6, 8, 10)[severity - 1] * scale_of(image)))


def glass_blur(image: Floats, severity: int, generator: Generator) -> Floats:
    """Blurred, its pixels displaced, blurred again."""
    sigma = (0.7, 0.9, 1.0, 1.1, 1.5)[severity - 1] * scale_of(image)
    # n swaps with neighbours up to d away displace a pixel by a variance of n d (d + 1) / 3 along each axis:
    # ImageNet-C's n = 2, 1, 3, 2, 2 and d = 1, 2, 2, 3, 4.
    spread = (1.15, 1.41, 2.45, 2.83, 3.65)[severity - 1] * scale_of(image)
    height, width = image.shape[1:]
    y, x = np.mgrid[:height, :width]
    shift = np.rint(generator.normal(scale=spread, size=(2, height, width))).astype(int)
    soft = ndimage.gaussian_filter(image, (0, sigma, sigma))
    moved = soft[:, np.clip(y + shift[0], 0, height - 1), np.clip(x + shift[1], 0, width - 1)]
    return np.asarray(ndimage.gaussian_filter(moved, (0, sigma, sigma)), dtype=np.float32)


def motion_blur(image: Floats, severity: int, generator: Generator) -> Floats:
    """Moved along a line, up to 45 degrees from the horizontal, while exposed."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    scale = scale_of(image)
    return filtered(image, streak(radius * scale, sigma * scale, generator.uniform(-45, 45)))


def zoom_blur(image: Floats, severity: int, generator: Generator) -> Floats:
    """The mean of the image and of itself enlarged by these factors, and of itself once more."""
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, end, step)
    total = image.copy()
    for factor in factors:
        total += enlarged(image, factor)
    return total / np.float32(len(factors) + 1)


def enlarged(image: Floats, factor: float) -> Floats:
    """The middle of an image, [C, H, W] or [H, W], enlarged to the image's size (bilinear)."""
    middle = (np.array(image.shape[-2:]) - 1) / 2
    matrix, offset = np.full(2, 1 / factor), middle * (1 - 1 / factor)
    planes = image.reshape(-1, *image.shape[-2:])
    done = [ndimage.affine_transform(plane, matrix, offset, order=1, mode="nearest") for plane in planes]
    return np.stack(done).reshape(image.shape).astype(np.float32)
