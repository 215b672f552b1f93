"""Fifteen corruptions of an image at five severities, for whatever images there are to test on.

The kinds are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261) and so are the strengths, as
far as they carry over, but the images are not: an error on these is never called mCE, which is defined on ImageNet-C's
files. What a corruption does depends on the image, its kind, its severity and the seed alone, not on the order
or the company in which the image comes.

Departures from how ImageNet-C was made: lengths in pixels scale with the image (ImageNet-C has 224 pixels on
either side); the pixels of glass_blur move by normal displacements as wide as the swaps of neighbours there add up
to; the kernel of motion_blur is our own instead of ImageMagick's; frost is generated instead of photographed; the
fractal of fog and frost sums octaves of noise; elastic_transform is the fine warp of ImageNet-C's upper severities
at all five; the result stays in memory instead of passing through a JPEG file. In images that are not RGB (a stack
of frames) each channel is a grey image of its own under one weather, blur and displacement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from relic_rl.evaluation import blurs, digital_corruptions, weather

Floats = NDArray[np.float32]
Corruption = Callable[[Floats, int, Generator], Floats]
"""Maps an image, float32 [C, H, W] in [0, 1], and a severity from 1 to 5 to an image."""

SEVERITIES = (1, 2, 3, 4, 5)


def gaussian_noise(image: Floats, severity: int, generator: Generator) -> Floats:
    """Normal noise on every value."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return image + np.float32(scale) * generator.standard_normal(image.shape, dtype=np.float32)


def shot_noise(image: Floats, severity: int, generator: Generator) -> Floats:
    """Poisson noise: a white value is this many photons on average."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return (generator.poisson(image * photons) / photons).astype(np.float32)


def impulse_noise(image: Floats, severity: int, generator: Generator) -> Floats:
    """This share of the values becomes 0 or 1, as likely one as the other."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    draw = generator.random(image.shape, dtype=np.float32)
    return np.where(draw < share / 2, np.float32(0), np.where(draw < share, np.float32(1), image))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital_corruptions.contrast,
    "elastic_transform": digital_corruptions.elastic_transform,
    "pixelate": digital_corruptions.pixelate,
    "jpeg_compression": digital_corruptions.jpeg_compression,
}
"""By name, in ImageNet-C's order."""


def corrupt(image: NDArray[np.uint8], name: str, severity: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """One corrupted image.

    Args:
        image: uint8 [C, H, W].
        name: a key of CORRUPTIONS.
        severity: from 1 to 5.
        seed: of the random numbers, at least 0.

    Returns:
        uint8 [C, H, W], another array.
    """
    about = f"{name} {severity} {seed} {image.shape}".encode()
    digest = hashlib.sha256(about + np.ascontiguousarray(image).tobytes()).digest()
    generator = Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    corrupted = CORRUPTIONS[name](image.astype(np.float32) / np.float32(255), severity, generator)
    return np.rint(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


def corrupt_batch(
    images: NDArray[np.uint8], name: str, severity: int, *, seed: int = 0, pool: Executor | None = None
) -> NDArray[np.uint8]:
    """`corrupt` of every image of a batch, uint8 [B, C, H, W].

    Args:
        images: uint8 [B, C, H, W].
        name: a key of CORRUPTIONS.
        severity: from 1 to 5.
        seed: of the random numbers.
        pool: threads that share the work, in which numpy and scipy work side by side; None for this one alone.
    """

    def one(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return corrupt(image, name, severity, seed=seed)

    return np.stack(list(map(one, images) if pool is None else pool.map(one, images)))
