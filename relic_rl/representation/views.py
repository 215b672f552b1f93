"""Batches of images to views as an encoder takes them.

The rule by which images become an agent's input: they are cropped, mirrored and recoloured in the colours that
they have; then, where grey is asked for, their luma is taken (ITU-R BT.601, as the emulator's grey levels); then
the channels are repeated as often as the agent stacks frames, a picture being a game in which nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.representation.colour_jitter import to_grey
from relic_rl.representation.natural_augmentation import crop_view, mirror, recolour
from relic_rl.representation.view_recipes import ViewDraws, ViewRecipe


@dataclass(frozen=True)
class ViewMaker:
    """Makes the views of a batch, on the batch's device.

    Attributes:
        recipes: of each view.
        sizes: height and width of each view, pixels.
        grey: whether RGB images become grey.
        stack: how often the channels are repeated.
    """

    recipes: tuple[ViewRecipe, ...]
    sizes: tuple[int, ...]
    grey: bool = False
    stack: int = 1

    def __call__(self, images: Tensor | Sequence[Tensor], draws: Sequence[ViewDraws]) -> list[Tensor]:
        """Views of images.

        Args:
            images: uint8 [B, C, H, W], which every view crops; or of each view uint8 [B, C, size, size], cropped
                already.
            draws: of each view.

        Returns:
            Of each view float32 [B, C', size, size] in [0, 1].
        """
        views = []
        for i, (recipe, size, numbers) in enumerate(zip(self.recipes, self.sizes, draws, strict=True)):
            if isinstance(images, Tensor):
                pixels = crop_view(images, recipe, numbers, (size, size))
            else:
                pixels = mirror(images[i], recipe, numbers)
            views.append(self._to_input(recolour(pixels, recipe, numbers)))
        return views

    @torch.no_grad()
    def plain(self, images: Tensor, size: int) -> Tensor:
        """Images [B, C, H, W], uint8, as the encoder takes them, without augmentation: float32 [B, C', size, size]."""
        pixels = images.float() / 255
        if pixels.shape[-2:] != (size, size):
            pixels = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
        return self._to_input(pixels)

    def channels(self, channels: int) -> int:
        """C' for images of C channels.

        Raises:
            ValueError: grey is asked for and the images are not RGB.
        """
        if self.grey and channels != 3:
            raise ValueError(f"only RGB images can be made grey, these have {channels} channels")
        return (1 if self.grey else channels) * self.stack

    def _to_input(self, images: Tensor) -> Tensor:
        if self.grey:
            images = to_grey(images)
        return images.repeat(1, self.stack, 1, 1) if self.stack > 1 else images
