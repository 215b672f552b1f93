"""The encoder that acts: the numbers of the one that learns, from weights rounded once."""

import pytest
import torch
from torch import nn

from agents.acting import ActingEncoder
from relic_rl.representation.encoders import build_encoder

IMAGES = torch.randint(256, (3, 4, 36, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def features(encoder: nn.Module | ActingEncoder, dtype: torch.dtype | None) -> torch.Tensor:
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        return encoder(IMAGES)


@pytest.mark.parametrize("name", ["nature", "impala"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_to_the_bit_the_features_under_autocast(name: str, dtype: torch.dtype | None) -> None:
    torch.manual_seed(1)
    encoder = build_encoder(name, image_size=(36, 36), feature_dim=16)
    acting = ActingEncoder(encoder, dtype)
    first = features(encoder, dtype)
    assert torch.equal(features(acting, dtype), first)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    acting.refresh()
    later = features(encoder, dtype)
    assert torch.equal(features(acting, dtype), later)
    assert not torch.equal(later, first)


def test_the_encoder_that_learns_is_left_alone() -> None:
    encoder = build_encoder("nature", image_size=(36, 36), feature_dim=16)
    acting = ActingEncoder(encoder, torch.bfloat16)
    acting.refresh()
    assert all(p.dtype == torch.float32 and p.requires_grad for p in encoder.parameters())
    assert not features(acting, torch.bfloat16).requires_grad
