"""The four changes of colour, in place, with a strength of its own for each image.

Source of the definitions: Grill et al., 2020, BYOL (arXiv 2006.07733), appendix B; they are PIL's, and kornia's
`adjust_brightness_accumulative`, `adjust_contrast_with_mean_subtraction`, `adjust_saturation_with_gray_subtraction`
and `adjust_hue`, to which tests hold them. On a CPU an augmentation waits for memory: here every step works in the
images' own memory, and the hue turns without a detour over HSV images.

B: images, H, W: height and width. Images are float32 [B, 3, H, W] in [0, 1] and overwritten; brightness and contrast
also take images of another number of channels, whose mean is the plain one.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in an image's grey (ITU-R BT.601)."""


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a factor [B], at least 0; 1 changes nothing."""
    return images.mul_(_per_image(factor)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the image's mean grey by a factor [B], at least 0; 1 changes nothing."""
    mean = images.mean(dim=(2, 3), keepdim=True)  # the mean of the greys is the grey of the means
    mean = (to_grey(mean) if images.shape[1] == 3 else mean.mean(dim=1, keepdim=True)).flatten()
    return images.mul_(_per_image(factor)).add_(_per_image((1 - factor) * mean)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from each pixel's grey by a factor [B], at least 0; 1 changes nothing."""
    factor = _per_image(factor)
    grey = to_grey(images)
    return images.mul_(factor).add_(grey.mul_(1 - factor)).clamp_(0, 1)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by [B] circles; HSV's saturation and value stay.

    With the hue h in sixths of a circle, and M and m the largest and the smallest channel, a colour is
    red = m + (M - m) ramp(|h - 3| - 1), green = m + (M - m) ramp(2 - |h - 2|), blue = m + (M - m) ramp(2 - |h - 4|),
    where ramp cuts off at 0 and 1.
    """
    red, green, blue = images.unbind(1)
    largest, smallest = torch.maximum(red, green), torch.minimum(red, green)
    is_red = red >= blue
    torch.maximum(largest, blue, out=largest)
    torch.minimum(smallest, blue, out=smallest)
    chroma = largest - smallest
    inverse = chroma.clamp_min(1e-12).reciprocal_()  # where it is 0 every difference is
    is_red &= red >= green
    is_green = green >= blue
    hue = (red - green).mul_(inverse).add_(4)
    hue = torch.where(is_green, (blue - red).mul_(inverse).add_(2), hue)
    hue = torch.where(is_red, (green - blue).mul_(inverse), hue)
    hue.add_(6 * turn[:, None, None]).remainder_(6)
    for channel, centre, sign, top in ((red, 3, 1, -1), (green, 2, -1, 2), (blue, 4, -1, 2)):
        share = (hue - centre).abs_().mul_(sign).add_(top).clamp_(0, 1)
        torch.addcmul(smallest, chroma, share, out=channel)
    return images


def to_grey(images: Tensor) -> Tensor:
    """Luma [B, 1, H, W] of images, which stay as they are."""
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
