"""Augmentation of natural images on their device, batched: crop, mirror, colours, blur and solarise (both by kornia).

Sources: Chen et al., 2020, SimCLR (arXiv 2002.05709), appendix A; Grill et al., 2020, BYOL (arXiv 2006.07733),
appendix B, whose definitions of brightness, contrast and saturation (PIL's) and whose order of steps are used.

Departures: the order of the four changes of colour is drawn once per batch instead of per image; the blur's
standard deviation is scaled with the image's size, so that a recipe means the same at 224 and at 84 pixels; a
crop is read off by bilinear interpolation without a low-pass filter (images in memory are about as large as
what the encoder sees; image files are cropped while decoding, with one).

Random numbers come from the caller (`view_draws`), on the CPU: which images a step touches is known without
waiting for the device, and only those are computed.
"""

from __future__ import annotations

from collections.abc import Callable

import kornia
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from relic_rl.representation.colour_jitter import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    to_grey,
)
from relic_rl.representation.crops import crop_boxes
from relic_rl.representation.view_recipes import ViewDraws, ViewRecipe

_FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GREY, _BLUR, _SIGMA, _SOLARISE = range(10)
_DOWN, _RIGHT, _INTENSITY = range(10, 13)
_REFERENCE_SIZE = 224  # pixels of the images that blur_sigma is stated for


@torch.no_grad()
def crop_view(images: Tensor, recipe: ViewRecipe, draws: ViewDraws, size: tuple[int, int]) -> Tensor:
    """A random resized crop of each image, mirrored or not, or a random shift.

    Args:
        images: [B, C, H, W], uint8, or float in [0, 1], on any device.
        recipe: what to do.
        draws: of these B images.
        size: height and width of the view.

    Returns:
        float32 [B, C, *size] in [0, 1].
    """
    batch, _, height, width = images.shape
    pixels = _to_float(images)
    whole = np.broadcast_to(np.array([0.0, 0.0, 1.0, 1.0]), (batch, 4))
    if recipe.crops:
        sides = np.full(batch, height), np.full(batch, width)
        whole = crop_boxes(draws.crop, *sides, recipe.crop_area, recipe.crop_ratio)
    top, left, tall, wide = whole.T
    if recipe.shift:
        steps = 2 * recipe.shift + 1
        top = top + (np.floor(draws.column(_DOWN) * steps) - recipe.shift) / height
        left = left + (np.floor(draws.column(_RIGHT) * steps) - recipe.shift) / width
    if not recipe.crops and not recipe.shift and (height, width) == size:
        return mirror(pixels, recipe, draws)
    sign = np.where(draws.column(_FLIP) < recipe.flip, -1.0, 1.0)
    theta = np.zeros((batch, 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 0, 2] = sign * wide, 2 * left + wide - 1
    theta[:, 1, 1], theta[:, 1, 2] = tall, 2 * top + tall - 1
    grid = functional.affine_grid(_send(theta, images.device), [batch, 1, *size], align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def mirror(images: Tensor, recipe: ViewRecipe, draws: ViewDraws) -> Tensor:
    """Mirror the images that the draws say; float32 [B, C, H, W] of uint8 or float images."""
    return _where(draws.column(_FLIP) < recipe.flip, _to_float(images), lambda chosen, _: chosen.flip(-1))


@torch.no_grad()
def recolour(images: Tensor, recipe: ViewRecipe, draws: ViewDraws) -> Tensor:
    """Everything but the crop: colours, grey, blur, solarise, intensity, in this order.

    Args:
        images: float32 [B, C, H, W] in [0, 1]; may be overwritten. RGB, unless the recipe needs no colour.
        recipe: what to do.
        draws: of these B images.

    Returns:
        float32 [B, C, H, W] in [0, 1], up to 1 + 2 * intensity where there is such a factor.

    Raises:
        ValueError: the recipe needs colour and the images have none.
    """
    if recipe.needs_colour and images.shape[1] != 3:
        raise ValueError(
            f"saturation, hue and grey need colour images, these have {images.shape[1]} channels: set them to 0"
        )
    jittered = draws.column(_JITTER) < recipe.jitter
    for which in draws.order:
        images = _colour_step(images, which, jittered, recipe, draws)
    images = _where(draws.column(_GREY) < recipe.grey, images, lambda chosen, _: to_grey(chosen).repeat(1, 3, 1, 1))
    images = _blur(images, recipe, draws)
    threshold = recipe.solarise_threshold
    images = _where(
        draws.column(_SOLARISE) < recipe.solarise,
        images,
        lambda chosen, _: kornia.enhance.solarize(chosen, threshold),
    )
    if recipe.intensity:
        # The inverse of the normal distribution function, as `augmentation.intensity_jitter` draws normals.
        normal = torch.special.ndtri(torch.from_numpy(draws.column(_INTENSITY)).clamp(1e-6, 1 - 1e-6))
        factor = 1 + recipe.intensity * normal.clamp(-2, 2)
        images = images * factor.to(images.device)[:, None, None, None]
    return images


def _colour_step(
    images: Tensor, which: int, jittered: NDArray[np.bool_], recipe: ViewRecipe, draws: ViewDraws
) -> Tensor:
    """One of the four changes of colour, on the images that are jittered."""
    steps = (
        (recipe.brightness, _BRIGHTNESS, adjust_brightness),
        (recipe.contrast, _CONTRAST, adjust_contrast),
        (recipe.saturation, _SATURATION, adjust_saturation),
        (recipe.hue, _HUE, adjust_hue),
    )
    strength, column, change = steps[which]
    if not strength or not jittered.any():
        return images
    amount = strength * (2 * draws.column(column) - 1) * jittered
    # The hue turns by an amount, the others change by a factor; images that are not jittered get what changes nothing.
    return change(images, _send((amount if column == _HUE else 1 + amount).astype(np.float32), images.device))


def _blur(images: Tensor, recipe: ViewRecipe, draws: ViewDraws) -> Tensor:
    scale = images.shape[-1] / _REFERENCE_SIZE
    kernel = max(3, 2 * round(0.05 * images.shape[-1]) + 1)  # a tenth of the image, as SimCLR, and odd
    low, high = (scale * sigma for sigma in recipe.blur_sigma)
    sigma = (low + (high - low) * draws.column(_SIGMA)).astype(np.float32)

    def blur(chosen: Tensor, index: NDArray[np.int64]) -> Tensor:
        pairs = np.repeat(sigma[index, None], 2, axis=1)
        blurred: Tensor = kornia.filters.gaussian_blur2d(chosen, kernel, _send(pairs, chosen.device))
        return blurred

    return _where(draws.column(_BLUR) < recipe.blur, images, blur)


def _where(chosen: NDArray[np.bool_], images: Tensor, change: Callable[[Tensor, NDArray[np.int64]], Tensor]) -> Tensor:
    """Change the chosen images, in place; `change(images, their indices)`."""
    index = np.flatnonzero(chosen)
    if len(index) == len(images):
        return change(images, index)
    if len(index) == 0:
        return images
    at = _send(index, images.device)
    return images.index_copy_(0, at, change(images[at], index))


def _to_float(images: Tensor) -> Tensor:
    """float32 in [0, 1], in memory of its own."""
    pixels = images.to(torch.float32, copy=True)
    return pixels if images.is_floating_point() else pixels.mul_(1 / 255)


def _send(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """A small array as a tensor on a device, without waiting for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
