"""What every encoder is: a trunk that yields feature maps, and a head from the last map to a vector."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class Encoder(nn.Module, ABC):
    """Maps images to features (N: images, C: channels, H, W: height and width, D: features).

    Attributes:
        in_channels: C of the images.
        image_size: (H, W) of the images.
        feature_dim: D of the features.
        map_channels: channels of each feature map, fine to coarse.
        input_weight: name in the state dict of the weight [out, C, kernel, kernel] that reads the images.
        other_names: what other projects' files of the same architecture call the children, each a mapping from
            our names to theirs; such files may hold more (a classifier). Empty where no other project has it.
        head: maps the coarsest feature map to the features.
        centred: weights [out, ...] whose filters have mean zero and keep it: whatever trains the
            encoder calls `centre_gradients` before the optimiser's step and `centre_weights` after it. Of most encoders
            none.
    """

    input_weight: ClassVar[str]
    other_names: ClassVar[tuple[Mapping[str, str], ...]] = ()
    in_channels: int
    image_size: tuple[int, int]
    feature_dim: int
    map_channels: tuple[int, ...]
    head: nn.Module

    @property
    def centred(self) -> tuple[nn.Parameter, ...]:
        """Weights whose filters are to have mean zero."""
        return ()

    @torch.no_grad()
    def centre_gradients(self) -> None:
        """Take the mean of each centred filter's gradient out of it, where there is one."""
        for weight in self.centred:
            if weight.grad is not None:
                centre_(weight.grad)

    @torch.no_grad()
    def centre_weights(self) -> None:
        """Take the mean out of each centred filter that is being learned."""
        for weight in self.centred:
            if weight.grad is not None:
                centre_(weight)

    @torch.no_grad()
    def lost_by_centring(self) -> list[str]:
        """A line on what training will take out of weights that were not made centred; none if that is nothing."""
        parts = []
        for weight in self.centred:
            if not weight.requires_grad:
                continue
            filters = weight.flatten(1)
            means = filters.mean(dim=1).abs() * filters.shape[1] ** 0.5
            parts.append((means / filters.norm(dim=1).clamp(min=1e-12)).max())
        share = max(parts).item() if parts else 0.0
        if share < _NO_MEAN:
            return []
        return [f"filters have means, up to {share:.1%} of their norm, which training takes out at its first update"]

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


_NO_MEAN = 1e-3  # share of a filter's norm; rounding leaves 1e-6


def centre_(filters: Tensor) -> None:
    """Take the mean out of each filter, in place.

    Args:
        filters: [out, ...], without a graph.
    """
    filters.sub_(filters.mean(dim=tuple(range(1, filters.ndim)), keepdim=True))


class ImageConv2d(nn.Conv2d):
    """A convolution that reads images: uint8 in [0, 255] or float in [0, 1], in any memory layout.

    A uint8 image is turned into the compute type (autocast's, where it is on) as it is, and the factor 1/255
    goes into the weight instead: that saves a pass over the image, and in bfloat16 nothing is rounded, since
    its 8 significant bits hold every integer up to 256.

    A kernel that is s times its stride s in size is computed as the s x s times smaller one of stride 1 over
    `space_to_depth`: few input channels leave the units for matrix products idle, 4 * 16 fill them. Same
    sums, same weights; for 8x8 kernels of stride 4 on a CPU it takes half the time.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve images [N, C, H, W]; computes channels-last, which is faster on CPUs and for bfloat16."""
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        weight = self.weight if input.is_floating_point() else self.weight * (1 / 255)
        pixels = input.to(dtype) if input.is_floating_point() else input  # the fewest bytes are moved about
        stride, kernel, height, width = self.stride[0], self.kernel_size[0], *input.shape[-2:]
        whole = self.padding == (0, 0) and not (kernel % stride or height % stride or width % stride)
        if stride == 1 or not whole:
            # Two passes: on a CPU, type and layout in one take 1.7 times as long.
            pixels = pixels.to(dtype).contiguous(memory_format=torch.channels_last)
            output: Tensor = self._conv_forward(pixels, weight, self.bias)
            return output
        pixels = space_to_depth(pixels, stride).to(dtype)
        weight = space_to_depth(weight, stride)
        return functional.conv2d(pixels, weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


def space_to_depth(images: Tensor, size: int) -> Tensor:
    """Move squares of pixels into the channels.

    Args:
        images: [N, C, H, W], H and W multiples of ``size``.
        size: s, side of a square.

    Returns:
        [N, C * s * s, H / s, W / s], channels-last: channel (c * s + y) * s + x of a square is pixel (y, x) of
        channel c.
    """
    batch, channels, height, width = images.shape
    word = _WORDS.get(size * images.element_size())
    if word is not None and images.is_contiguous() and not images.requires_grad:
        # The s pixels of a row of a square lie side by side: moved as one number, s times fewer are moved. And in two
        # passes, whole rows first: in one, the innermost loops are so short that it takes two to five times as long.
        # Flat first: the strides of a single channel may be anything.
        rows = images.view(-1).view(word).view(batch, channels, height // size, size, width // size)
        rows = rows.transpose(1, 2).contiguous().view(batch, height // size, channels * size, width // size)
        squares = rows.transpose(2, 3).contiguous().view(images.dtype)
    else:
        rows = images.reshape(batch, channels, height // size, size, width // size, size)
        squares = rows.permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(batch, height // size, width // size, channels * size**2).permute(0, 3, 1, 2)


_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""Types by bytes."""
