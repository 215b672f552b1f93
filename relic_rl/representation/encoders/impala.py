"""The residual encoder of IMPALA.

Source: Espeholt et al., 2018 (arXiv 1802.01561), figure 3, the larger network without its LSTM.

Departures: torch's default initialisation in place of TensorFlow's; `width` multiplies the channels of all
stages.
"""

from torch import Tensor, nn
from torch.nn import functional

from relic_rl.representation.encoders.base import Encoder, ImageConv2d


class ImpalaEncoder(Encoder):
    """Three stages with 16, 32 and 32 channels, then ReLU, a linear layer and ReLU.

    A stage is a 3x3 convolution, 3x3 max pooling with stride 2 and two residual blocks (3x3, 3x3).
    Feature maps are the stages' outputs, before any ReLU: 42x42, 21x21 and 11x11 for 84x84 images.

    Args:
        in_channels: channels of the images (4 for a stack of four grey frames).
        image_size: (height, width) of the images.
        feature_dim: number of features.
        width: multiplies the number of channels.

    Raises:
        ValueError: the image is smaller than 8x8: three poolings would be of a single pixel.
    """

    input_weight = "stages.0.conv.weight"

    def __init__(
        self,
        in_channels: int = 4,
        image_size: tuple[int, int] = (84, 84),
        feature_dim: int = 256,
        width: int = 1,
    ) -> None:
        super().__init__()
        if min(image_size) < 8:
            raise ValueError(
                f"the impala encoder needs images of at least 8x8, got {image_size[0]}x{image_size[1]}: resize them"
            )
        self.in_channels = in_channels
        self.image_size = image_size
        self.feature_dim = feature_dim
        self.map_channels = (16 * width, 32 * width, 32 * width)
        channels = [in_channels, *self.map_channels]
        self.stages = nn.ModuleList(_Stage(channels[i], channels[i + 1], reads_images=i == 0) for i in range(3))
        height, width_out = ((size + 7) // 8 for size in image_size)  # each stage halves, rounding up
        linear = nn.Linear(self.map_channels[-1] * height * width_out, feature_dim)
        self.head = nn.Sequential(nn.ReLU(), nn.Flatten(), linear, nn.ReLU(inplace=True))

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The three stages' outputs, fine to coarse."""
        self.check(images)
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else images))
        return tuple(maps)


class _Stage(nn.Module):
    """Convolution, max pooling, two residual blocks."""

    def __init__(self, in_channels: int, out_channels: int, reads_images: bool) -> None:
        super().__init__()
        convolution = ImageConv2d if reads_images else nn.Conv2d
        self.conv = convolution(in_channels, out_channels, kernel_size=3, padding=1)
        self.blocks = nn.Sequential(_ResidualBlock(out_channels), _ResidualBlock(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv(x), kernel_size=3, stride=2, padding=1)
        out: Tensor = self.blocks(x)
        return out


class _ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.conv1(functional.relu(x)), inplace=True)
        outer: Tensor = self.conv2(inner)
        return x + outer
