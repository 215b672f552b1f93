"""Augmentations against naive loops, and the distribution of their draws."""

import pytest
import torch
from torch import Tensor

from relic_rl.representation.augmentation import (
    FrameAugmentation,
    intensity_jitter,
    parse_augmentation,
    random_shift,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Images whose pixel (y, x) of channel c holds 10000 c + 100 y + x."""
    y, x = torch.arange(height)[:, None], torch.arange(width)
    return (torch.arange(channels)[:, None, None] * 10000 + 100 * y + x).expand(batch, -1, -1, -1).contiguous()


def shifts_of(moved: Tensor) -> Tensor:
    """(down, right) per sample, read off the center of shifted coordinate images; [B, 2]."""
    height, width = moved.shape[2:]
    value = moved[:, 0, height // 2, width // 2]
    return torch.stack([value // 100 - height // 2, value % 100 - width // 2], dim=1)


def test_shift_is_replicate_padding_and_a_crop_for_every_channel_alike():
    images = coordinates(40, 3, 20, 24)
    moved = random_shift(images, 4, generator())
    for sample, (down, right) in enumerate(shifts_of(moved).tolist()):
        for y in range(20):
            for x in range(24):
                source = (min(max(y + down, 0), 19), min(max(x + right, 0), 23))
                assert torch.equal(moved[sample, :, y, x], images[sample][:, source[0], source[1]])


def test_shift_reaches_every_offset_equally_and_independently():
    drawn = shifts_of(random_shift(coordinates(20_000, 1, 12, 12), 4, generator()))
    table = torch.zeros(9, 9)
    table.index_put_((drawn[:, 0] + 4, drawn[:, 1] + 4), torch.ones(len(drawn)), accumulate=True)
    expected = 20_000 / 81
    chi2 = ((table - expected).square() / expected).sum()
    assert table.min() > 0
    assert 40 < chi2 < 125, "80 degrees of freedom; 99.9 % below 125"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_shift_keeps_type_and_values(dtype):
    images = torch.randint(0, 256, (8, 4, 84, 84), generator=generator()).to(dtype)
    moved = random_shift(images, 4, generator(3))
    assert moved.dtype == dtype
    reference = random_shift(images.double(), 4, generator(3))
    assert torch.equal(moved.double(), reference)


def test_shift_takes_any_memory_layout():
    images = torch.randint(0, 256, (8, 4, 20, 20), generator=generator(), dtype=torch.uint8)
    strided = images.to(memory_format=torch.channels_last)
    assert torch.equal(random_shift(strided, 4, generator(3)), random_shift(images, 4, generator(3)))


def test_intensity_is_one_clamped_factor_per_sample():
    images = torch.randint(1, 256, (2000, 2, 3, 3), generator=generator(), dtype=torch.uint8)
    out = intensity_jitter(images, 0.05, generator(1))
    factors = out / (images.float() / 255)
    per_sample = factors.flatten(1)
    assert (per_sample - per_sample[:, :1]).abs().max() < 1e-5
    factor = per_sample[:, 0].double()
    z = torch.randn(2000, 1, 1, 1, generator=generator(1)).flatten().double()
    torch.testing.assert_close(factor, 1 + 0.05 * z.clamp(-2, 2), atol=1e-6, rtol=0)
    assert factor.min() == pytest.approx(0.9, abs=1e-6)
    assert factor.max() == pytest.approx(1.1, abs=1e-6)


def test_intensity_of_float_images_is_that_of_uint8():
    images = torch.randint(0, 256, (5, 2, 3, 3), generator=generator(), dtype=torch.uint8)
    torch.testing.assert_close(
        intensity_jitter(images.float() / 255, 0.05, generator(1)),
        intensity_jitter(images, 0.05, generator(1)),
    )


def test_reproducible_from_the_generator_only():
    images = torch.randint(0, 256, (16, 4, 84, 84), generator=generator(), dtype=torch.uint8)
    augmentation = FrameAugmentation()
    first = augmentation(images, generator(5))
    torch.manual_seed(99)
    assert torch.equal(augmentation(images, generator(5)), first)
    stream = generator(5)
    assert torch.equal(augmentation(images, stream), first)
    assert not torch.equal(augmentation(images, stream), first), "the second view is another draw"


def test_input_is_left_alone():
    images = torch.randint(0, 256, (4, 4, 20, 20), generator=generator(), dtype=torch.uint8)
    floats = images.float() / 255
    before = images.clone(), floats.clone()
    FrameAugmentation()(images, generator())
    FrameAugmentation(shift=0)(floats, generator())
    assert torch.equal(images, before[0])
    assert torch.equal(floats, before[1])


def test_each_part_can_be_left_out():
    images = coordinates(64, 1, 20, 20).to(torch.uint8)
    assert FrameAugmentation(shift=4, intensity=0)(images, generator()).dtype == torch.uint8
    plain = FrameAugmentation(shift=0, intensity=0)(images, generator())
    assert torch.equal(plain, images)
    jittered = FrameAugmentation(shift=0, intensity=0.05)(images, generator())
    assert torch.equal(jittered, intensity_jitter(images, 0.05, generator()))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("shift,intensity", FrameAugmentation(4, 0.05)),
        ("intensity, shift", FrameAugmentation(4, 0.05)),
        ("shift", FrameAugmentation(4, 0.0)),
        ("crop", FrameAugmentation(8, 0.0)),
        ("intensity", FrameAugmentation(0, 0.05)),
    ],
)
def test_names(names, expected):
    assert parse_augmentation(names) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("shfit", "did you mean shift"),
        ("shift,intensty", "did you mean intensity"),
        ("", "choose from shift, crop, intensity"),
        ("shift,shift", "each once"),
        ("shift,crop", "not both"),
    ],
)
def test_bad_names_are_one_clear_line(names, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_augmentation(names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments", [{"shift": -1}, {"intensity": -0.1}, {"intensity": 0.6}, {"intensity": float("nan")}]
)
def test_bad_strengths_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must lie in|at least 0"):
        FrameAugmentation(**arguments)
