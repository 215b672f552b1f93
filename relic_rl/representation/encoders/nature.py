"""The encoder of the DQN paper.

Source: Mnih et al., 2015, "Human-level control through deep reinforcement learning" (Nature 518), methods.

Departures: orthogonal initialisation with gain sqrt(2) and zero biases, the practice of PPO; `width` multiplies the
channels of all three convolutions; every filter has mean zero, from the start and after every update.

The frames of a game have most of their brightness in common, and a filter's mean answers to little else. With means
the features of an untrained encoder, after rectifiers have added that up layer by layer, are all but parallel
(`benchmarks/initial_features.py`), and neither a value nor a similarity can tell one frame from another until training
has undone it. And training moves the means: a step of Adam that moves a filter's weights alike moves its answer to the
whole background, and soon most filters answer to nothing at all (`benchmarks/dead_filters.py`).

Taking the mean out of gradients and weights around the optimiser's step is the same as learning weights whose mean is
taken out before use: gradient centralisation (Yong et al., 2020, arXiv 2004.01461) in the variant that also keeps
Adam's steps from moving the means; Huang et al., 2017 (ICCV), centre weights in this way and scale them, too.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.representation.encoders.base import Encoder, ImageConv2d, centre_


class NatureEncoder(Encoder):
    """Three convolutions and a linear layer, a ReLU after each.

    The convolutions are 8x8 with stride 4, 4x4 with stride 2 and 3x3 with stride 1; 32, 64 and 64 channels.
    Feature maps are the three convolutions' outputs after their ReLU: 20x20, 9x9 and 7x7 for 84x84 images.

    Args:
        in_channels: channels of the images (4 for a stack of four grey frames).
        image_size: (height, width) of the images.
        feature_dim: number of features.
        width: multiplies the number of channels.

    Raises:
        ValueError: the image is too small for three convolutions (the least is 36x36).
    """

    input_weight = "conv1.weight"

    def __init__(
        self,
        in_channels: int = 4,
        image_size: tuple[int, int] = (84, 84),
        feature_dim: int = 512,
        width: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.image_size = image_size
        self.feature_dim = feature_dim
        self.map_channels = (32 * width, 64 * width, 64 * width)
        self.conv1 = ImageConv2d(in_channels, 32 * width, kernel_size=8, stride=4)
        self.conv2 = nn.Conv2d(32 * width, 64 * width, kernel_size=4, stride=2)
        self.conv3 = nn.Conv2d(64 * width, 64 * width, kernel_size=3, stride=1)
        height, width_out = (_output_size(size) for size in image_size)
        if min(height, width_out) < 1:
            raise ValueError(
                f"the nature encoder needs images of at least 36x36, got {image_size[0]}x{image_size[1]}: "
                "resize them or use the impala encoder"
            )
        linear = nn.Linear(64 * width * height * width_out, feature_dim)
        self.head = nn.Sequential(nn.Flatten(), linear, nn.ReLU(inplace=True))
        for layer in (self.conv1, self.conv2, self.conv3, linear):
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))
            with torch.no_grad():
                centre_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    @property
    def centred(self) -> tuple[nn.Parameter, ...]:
        """The weights of all four layers."""
        return tuple(parameter for name, parameter in self.named_parameters() if name.endswith("weight"))

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The three convolutions' outputs, fine to coarse."""
        self.check(images)
        fine = functional.relu(self.conv1(images), inplace=True)
        middle = functional.relu(self.conv2(fine), inplace=True)
        # The head flattens it anyway; laid out so before the rectifier, its backward pass is contiguous, too.
        coarse = functional.relu(self.conv3(middle).contiguous(), inplace=True)
        return fine, middle, coarse


def _output_size(size: int) -> int:
    """Side of the last map for an image of this side."""
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        size = (size - kernel) // stride + 1
    return size
