"""Augmentation of frames for reinforcement learning: random shift or crop, and intensity jitter.

Batched, on the frames' device, with one draw per sample: all stacked frames of a sample are treated alike, so
that their differences, which carry the motion, stay what they are.

Sources: Yarats, Kostrikov and Fergus, 2021, DrQ (arXiv 2004.13649), for the shift; Schwarzer et al., 2021,
SPR (arXiv 2007.05929), for the shift with intensity jitter on Atari; Laskin et al., 2020, CURL (arXiv
2004.04136), for the crop.

Departures: CURL renders frames at 100x100 and crops 84x84. Frames here have the size that the encoder sees,
so `crop` pads 84x84 to 100x100 first.
"""

import difflib
from dataclasses import dataclass

import torch
from torch import Tensor

SHIFT_PIXELS = 4
CROP_PIXELS = 8
INTENSITY_SCALE = 0.05
AUGMENTATIONS = ("shift", "crop", "intensity")


@dataclass(frozen=True)
class FrameAugmentation:
    """Random shift, then intensity jitter; a callable `(images, generator) -> images`.

    Attributes:
        shift: largest shift in pixels, in each direction; 0 for none.
        intensity: strength of the jitter, see `intensity_jitter`; 0 for none.
    """

    shift: int = SHIFT_PIXELS
    intensity: float = INTENSITY_SCALE

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ValueError(f"shift is a number of pixels, at least 0; got {self.shift}")
        if not 0 <= self.intensity <= 0.5:
            raise ValueError(f"intensity must lie in [0, 0.5], else images may turn black; got {self.intensity}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """An augmented copy.

        Args:
            images: [B, C, H, W] (B: samples, C: stacked frames or colours), uint8 or float in [0, 1].
            generator: the stream of draws, on the images' device.

        Returns:
            [B, C, H, W], uint8 where images are and there is no jitter, else float up to 1 + 2 * intensity.
        """
        if self.shift:
            images = random_shift(images, self.shift, generator)
        if self.intensity:
            images = intensity_jitter(images, self.intensity, generator)
        return images


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Pad by repeating the border and crop back at a random place, drawn for each sample.

    Args:
        images: [B, C, H, W], any type.
        pixels: largest shift; each of the 2 * pixels + 1 shifts per axis is equally likely.
        generator: on the images' device.

    Returns:
        [B, C, H, W] of the same type.
    """
    batch, channels, height, width = images.shape
    down, right = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator, device=images.device).unbind()
    rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + right).clamp(0, width - 1)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, -1)
    moved = images.reshape(batch, channels, -1).gather(2, source.expand(-1, channels, -1))
    return moved.view(images.shape)


def intensity_jitter(images: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Multiply each sample by 1 + scale * clamp(z, -2, 2), z standard normal.

    Args:
        images: [B, C, H, W], uint8 (scaled by 1/255 here) or float in [0, 1].
        scale: standard deviation of the factor, were it not clamped.
        generator: on the images' device.

    Returns:
        [B, C, H, W] float, not clipped at 1: a clip would flatten what is bright.
    """
    noise = torch.randn(len(images), 1, 1, 1, generator=generator, device=images.device)
    factor = 1 + scale * noise.clamp(-2, 2)
    if images.is_floating_point():
        return images * factor.to(images.dtype)
    return images.float().mul_(factor / 255)


def parse_augmentation(names: str) -> FrameAugmentation:
    """The augmentation that a command line names.

    Args:
        names: comma-separated, of "shift" (up to 4 pixels), "crop" (up to 8 pixels; not with shift) and
            "intensity" (scale 0.05).

    Raises:
        ValueError: unknown or repeated name, none at all, or shift with crop.
    """
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in AUGMENTATIONS:
            nearest = difflib.get_close_matches(name, AUGMENTATIONS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(AUGMENTATIONS)}"
            raise ValueError(f"unknown augmentation {name!r}: {hint}")
    if len(set(chosen)) < len(chosen) or {"shift", "crop"} <= set(chosen):
        raise ValueError(f"augmentation {names!r}: name each once, and shift or crop but not both")
    shift = SHIFT_PIXELS if "shift" in chosen else CROP_PIXELS if "crop" in chosen else 0
    return FrameAugmentation(shift=shift, intensity=INTENSITY_SCALE if "intensity" in chosen else 0.0)
