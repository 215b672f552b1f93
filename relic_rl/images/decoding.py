"""Image files to crops: decoded no larger than the crops need, and whatever is wrong with a file told in words.

JPEG files are decoded at a half, a quarter or an eighth of their size where every crop asked for is at least
that many times larger than its output (the scale is part of the inverse DCT, and makes decoding several times
faster). Crops are resized with a low-pass filter (Pillow's bilinear).

Departure from torchvision's loader, which crops after decoding at full size: pixels differ slightly from
those of a full decode. Rotation tags are not heeded, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 1 << 26
"""Pixels of a decoded image, at most: 67 million, 200 MB."""

# Pillow refuses large files before it is known at what scale they will be decoded: MAX_PIXELS is for after.
Image.MAX_IMAGE_PIXELS = None

_EVAL_SHARE = 224 / 256  # of the shorter side that the central crop for evaluation shows, as everybody's


class BrokenImage(Exception):
    """A file that holds no image that can be used; the message says why."""


class Crop(NamedTuple):
    """A box of an image, in units of its height and width, and the size that it is brought to."""

    top: float
    left: float
    height: float
    width: float
    size: int  # pixels, of either side


def central_crop(height: int, width: int, size: int, *, whole: bool = False, border: int = 0) -> Crop:
    """The square from the middle that evaluation shows: 7/8 of the shorter side; all of it for ``whole``.

    A border of this many pixels is no part of the image; one that leaves nothing counts as none.
    """
    inner = min(height, width) - 2 * border
    side = (1.0 if whole else _EVAL_SHARE) * (inner if inner > 0 else min(height, width))
    tall, wide = side / height, side / width
    return Crop((1 - tall) / 2, (1 - wide) / 2, tall, wide, size)


def decode_crops(path: Path, choose: Callable[[int, int], Sequence[Crop]]) -> list[NDArray[np.uint8]]:
    """Decode a file once and cut the crops out of it.

    Args:
        path: a JPEG, PNG or other file that Pillow reads; the first frame of an animation.
        choose: maps (height, width) of the image, as its header tells them, to crops, at least one.

    Returns:
        Of each crop RGB, uint8 [3, size, size]. Grey, CMYK, palette and 16-bit images become RGB.

    Raises:
        BrokenImage: missing, empty, no image, truncated, or more than MAX_PIXELS once decoded.
    """
    try:
        with Image.open(path) as image:
            crops = choose(image.height, image.width)
            # How many times larger than its output the least reduced crop is.
            spare = min(min(c.height * image.height, c.width * image.width) / c.size for c in crops)
            if spare >= 2:
                image.draft(None, (int(image.width / spare), int(image.height / spare)))
            if image.width * image.height > MAX_PIXELS:
                raise BrokenImage(f"too large: {image.width} x {image.height} pixels")
            picture = _to_rgb(image)
            return [_cut(picture, crop) for crop in crops]
    except BrokenImage:
        raise
    except Exception as error:  # Pillow's readers raise whatever malformed data lead to
        raise BrokenImage(_reason(error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 or 32 bits of grey: convert() would clip at 255 instead of scaling
        levels = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode != "I" or levels.max() > 255 else 255.0
        return Image.fromarray((np.clip(levels / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _cut(picture: Image.Image, crop: Crop) -> NDArray[np.uint8]:
    left, top = crop.left * picture.width, crop.top * picture.height
    right = min(left + crop.width * picture.width, picture.width)
    bottom = min(top + crop.height * picture.height, picture.height)
    piece = picture.resize((crop.size, crop.size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.ascontiguousarray(np.asarray(piece).transpose(2, 0, 1))


def _reason(error: Exception) -> str:
    """Why a file cannot be used, in a few words and without its path."""
    if isinstance(error, FileNotFoundError):
        return "missing, or a link to nowhere"
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:120] or type(error).__name__
