"""What every encoder is: a trunk that yields feature maps, and a head from the last map to a vector."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Maps images to features (N: images, C: channels, H, W: height and width, D: features).

    Attributes:
        in_channels: C of the images.
        image_size: (H, W) of the images.
        feature_dim: D of the features.
        map_channels: channels of each feature map, fine to coarse.
        input_weight: name in the state dict of the weight [out, C, kernel, kernel] that reads the images.
        foreign_prefix: names that files of the same architecture may hold and features do without (a
            classifier); empty for none.
        head: maps the coarsest feature map to the features.
    """

    input_weight: ClassVar[str]
    foreign_prefix: ClassVar[str] = ""
    in_channels: int
    image_size: tuple[int, int]
    feature_dim: int
    map_channels: tuple[int, ...]
    head: nn.Module

    @abstractmethod
    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps [N, channels, height, width], fine to coarse, of images as `forward` takes them."""

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, D] of images [N, C, H, W], uint8 or float in [0, 1]."""
        features: Tensor = self.head(self.feature_maps(images)[-1])
        return features

    def check(self, images: Tensor) -> None:
        """Refuse images of another shape than the encoder was built for.

        Raises:
            ValueError: images are not [N, in_channels, *image_size].
        """
        expected = (self.in_channels, *self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"{type(self).__name__} was built for images [N, {', '.join(map(str, expected))}], "
                f"got {list(images.shape)}: build it with matching in_channels and image_size"
            )


class ImageConv2d(nn.Conv2d):
    """A convolution that reads images: uint8 in [0, 255] or float in [0, 1], in any memory layout.

    A uint8 image is turned into the compute type (autocast's, where it is on) as it is, and the factor 1/255
    goes into the weight instead: that saves a pass over the image, and in bfloat16 nothing is rounded, since
    its 8 significant bits hold every integer up to 256.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve images [N, C, H, W]; computes channels-last, which is faster on CPUs and for bfloat16."""
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        # Two passes: on a CPU, type and layout in one take 1.7 times as long.
        pixels = input.to(dtype).contiguous(memory_format=torch.channels_last)
        weight = self.weight if input.is_floating_point() else self.weight * (1 / 255)
        output: Tensor = self._conv_forward(pixels, weight, self.bias)
        return output
