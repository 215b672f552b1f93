"""Small encoders and images: the shipped classes at the least size that they take."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from relic_rl.representation.encoders import NatureEncoder


@pytest.fixture
def small_encoder() -> Callable[[int], NatureEncoder]:
    """Makes a Nature encoder for images [2, 44, 44] with 24 features, weights from the given seed."""

    def make(seed: int = 0) -> NatureEncoder:
        torch.manual_seed(seed)
        return NatureEncoder(in_channels=2, image_size=(44, 44), feature_dim=24)

    return make


@pytest.fixture
def small_views() -> Callable[..., list[Tensor]]:
    """Makes views of the same images: coarse random blocks, each view with noise of its own."""

    def make(num_views: int = 2, batch: int = 6, seed: int = 0) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        blocks = torch.randint(0, 200, (batch, 2, 11, 11), generator=generator)
        images = blocks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        noise = [torch.randint(0, 56, images.shape, generator=generator) for _ in range(num_views)]
        return [(images + n).to(torch.uint8) for n in noise]

    return make
