"""ResNet-18 and ResNet-50; the names in the state dict are torchvision's, so weights go both ways.

Sources: He et al., 2015 (arXiv 1512.03385), table 1; the stride of a bottleneck sits in its 3x3 convolution, as
in torchvision and in every ImageNet result since Goyal et al., 2017 (arXiv 1706.02677).

Departures: no classifier (`fc`); images are normalised here, not by the caller.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from relic_rl.representation.encoders.base import Encoder, ImageConv2d

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_STRIDE = 32  # pixels of the image per location of the last map


class _Block(nn.Module):
    """Two 3x3 convolutions with a way around them."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, width, H / stride, W / stride]."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        out: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return out


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a way around them."""

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, 4 width, H / stride, W / stride]."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        out: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return out


class ResNetEncoder(Encoder):
    """A residual network up to its global average; takes images of any size from 32 x 32.

    Feature maps are the four stages' outputs: 56x56, 28x28, 14x14 and 7x7 for 224x224 images.

    RGB images are normalised by ImageNet's mean and standard deviation, images of other channels by the
    average of the three. In bfloat16 and float16 the normalisation is computed in float32.

    Args:
        in_channels: channels of the images.
        image_size: (height, width) that the images mostly have; others are taken too.
        block: the residual block.
        depths: blocks of each stage.
        width: multiplies the number of channels.

    Raises:
        ValueError: the image size is below 32x32.
    """

    input_weight = "conv1.weight"
    # Torchvision's and timm's names are ours; Lightly cuts the network out of the list of its layers.
    other_names = (
        {},
        {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"},
    )

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        block: type[_Block] | type[_Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 1,
    ) -> None:
        super().__init__()
        if min(image_size) < _STRIDE:
            raise ValueError(
                f"a resnet needs images of at least 32x32, got {image_size[0]}x{image_size[1]}: resize them"
            )
        self.in_channels = in_channels
        self.image_size = image_size
        widths = [64 * width, 128 * width, 256 * width, 512 * width]
        self.map_channels = tuple(channels * block.expansion for channels in widths)
        self.feature_dim = self.map_channels[-1]
        self.conv1 = ImageConv2d(in_channels, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = widths[0]
        for i, (depth, stage_width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(block(channels, stage_width, stride=2 if i > 0 and j == 0 else 1))
                channels = stage_width * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        colour = in_channels == 3
        mean = IMAGENET_MEAN if colour else (sum(IMAGENET_MEAN) / 3,)
        std = IMAGENET_STD if colour else (sum(IMAGENET_STD) / 3,)
        # Not in the state dict: they belong to the architecture, and torchvision's has no such names.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def check(self, images: Tensor) -> None:
        """Refuse images of other channels, or smaller than 32x32."""
        if images.ndim != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < _STRIDE:
            raise ValueError(
                f"{type(self).__name__} takes images [N, {self.in_channels}, 32 or more, 32 or more], "
                f"got {list(images.shape)}"
            )

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The four stages' outputs, fine to coarse."""
        self.check(images)
        pixels = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        x = (pixels - self.mean) / self.std
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps: list[Tensor] = []
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
            maps.append(x)
        return tuple(maps)


class ResNet18Encoder(ResNetEncoder):
    """ResNet-18: 512 features."""

    def __init__(self, in_channels: int = 3, image_size: tuple[int, int] = (224, 224), width: int = 1) -> None:
        super().__init__(in_channels, image_size, _Block, (2, 2, 2, 2), width)


class ResNet50Encoder(ResNetEncoder):
    """ResNet-50: 2,048 features."""

    def __init__(self, in_channels: int = 3, image_size: tuple[int, int] = (224, 224), width: int = 1) -> None:
        super().__init__(in_channels, image_size, _Bottleneck, (3, 4, 6, 3), width)


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution on the way around, where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
