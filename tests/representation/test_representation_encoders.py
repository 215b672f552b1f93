"""Encoders against their definition written out, in double precision."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.representation.encoders import Encoder, ImpalaEncoder, NatureEncoder, build_encoder
from relic_rl.representation.encoders.base import ImageConv2d, centre_, space_to_depth


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def nature_by_hand(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    x = images.double() / 255
    for name, stride in (("conv1", 4), ("conv2", 2), ("conv3", 1)):
        x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride).relu()
    return functional.linear(x.reshape(len(x), -1), weights["head.1.weight"], weights["head.1.bias"]).relu()


def impala_by_hand(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    def conv(x: Tensor, name: str) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    x = images.double() / 255
    for i in range(3):
        x = functional.max_pool2d(conv(x, f"stages.{i}.conv"), 3, 2, 1)
        for j in range(2):
            block = f"stages.{i}.blocks.{j}"
            x = x + conv(conv(x.relu(), f"{block}.conv1").relu(), f"{block}.conv2")
    x = x.relu().reshape(len(x), -1)
    return functional.linear(x, weights["head.2.weight"], weights["head.2.bias"]).relu()


@pytest.mark.parametrize(("name", "by_hand"), [("nature", nature_by_hand), ("impala", impala_by_hand)])
def test_forward_is_the_definition(name, by_hand):
    torch.manual_seed(0)
    encoder = build_encoder(name, in_channels=3, image_size=(44, 40), feature_dim=19).double()
    images = random_images(3, 3, 44, 40)
    expected = by_hand(dict(encoder.state_dict()), images)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(encoder(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "dim", "maps", "parameters"),
    [
        ("nature", 512, [(32, 20), (64, 9), (64, 7)], 1_684_128),
        ("impala", 256, [(16, 42), (32, 21), (32, 11)], 97_744 + 11 * 11 * 32 * 256 + 256),
    ],
)
def test_sizes_at_84_pixels(name, dim, maps, parameters):
    encoder = build_encoder(name)
    images = random_images(2, 4, 84, 84)
    assert encoder(images).shape == (2, dim)
    assert encoder.feature_dim == dim
    found = encoder.feature_maps(images)
    assert [tuple(m.shape) for m in found] == [(2, channels, side, side) for channels, side in maps]
    assert encoder.map_channels == tuple(channels for channels, _ in maps)
    torch.testing.assert_close(encoder.head(found[-1]), encoder(images))
    assert sum(p.numel() for p in encoder.parameters()) == parameters


@pytest.mark.parametrize("name", ["nature", "impala"])
def test_uint8_float_and_any_layout_agree(name):
    torch.manual_seed(0)
    encoder = build_encoder(name, image_size=(44, 44))
    images = random_images(4, 4, 44, 44)
    expected = encoder(images)
    torch.testing.assert_close(encoder(images.float() / 255), expected, rtol=1e-4, atol=1e-5)
    channels_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(encoder(channels_last), expected, rtol=1e-4, atol=1e-5)


def test_wider_encoder_has_more_channels():
    assert NatureEncoder(width=2).map_channels == (64, 128, 128)
    assert ImpalaEncoder(width=3).map_channels == (48, 96, 96)


@pytest.mark.parametrize("name", ["nature", "impala"])
def test_autocast_computes_in_bfloat16_and_stays_close(name):
    torch.manual_seed(0)
    encoder = build_encoder(name)
    images = random_images(8, 4, 84, 84)
    expected = encoder(images)
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(images)
        assert encoder.feature_maps(images)[0].dtype == torch.bfloat16
    assert features.dtype == torch.bfloat16
    error = (features - expected).norm() / expected.norm()
    assert error < 0.02


def test_bfloat16_holds_every_pixel_value():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(pixels.to(torch.bfloat16).float(), pixels.float())


def test_feature_maps_are_not_overwritten_by_later_stages():
    torch.manual_seed(0)
    encoder = build_encoder("impala", image_size=(44, 44))
    images = random_images(2, 4, 44, 44)
    first = encoder.feature_maps(images)[0]
    alone = encoder.stages[0](images)
    assert torch.equal(first, alone)
    assert (first < 0).any(), "the maps are taken before any ReLU"


def test_nature_starts_orthogonal_but_for_the_mean_of_each_filter():
    torch.manual_seed(0)
    encoder = NatureEncoder()
    for layer in (encoder.conv1, encoder.conv2, encoder.conv3, encoder.head[1]):
        flat = layer.weight.detach().flatten(1).double()
        assert flat.mean(1).abs().max() < 1e-8
        # Rows w - m 1 of an orthogonal matrix: the Gram matrix is 2 I less one multiple of m m'.
        least, *others = torch.linalg.eigvalsh(flat @ flat.T).tolist()
        assert others == pytest.approx([2.0] * (len(flat) - 1), abs=1e-4)
        assert 0 < least < 2
        assert not layer.bias.any()


def test_an_untrained_nature_encoder_overlooks_what_does_not_vary():
    torch.manual_seed(0)
    encoder = NatureEncoder()
    images = random_images(4, 4, 84, 84)
    with torch.no_grad():
        features = encoder(images / 2)
        brighter = encoder(images / 2 + 0.5)
        uniform = encoder(torch.full((1, 4, 84, 84), 200, dtype=torch.uint8))
    assert features.abs().max() > 0.1
    torch.testing.assert_close(brighter, features, atol=1e-3, rtol=0)
    assert uniform.abs().max() < 1e-4


def test_nature_centres_all_its_filters_and_others_none():
    encoder = NatureEncoder()
    layers = (encoder.conv1, encoder.conv2, encoder.conv3, encoder.head[1])
    assert {id(weight) for weight in encoder.centred} == {id(layer.weight) for layer in layers}
    assert len(encoder.centred) == 4
    assert build_encoder("impala").centred == ()
    assert build_encoder("resnet18", in_channels=3).centred == ()


def test_centring_around_a_step_is_learning_weights_less_their_mean():
    """Adam on raw weights whose mean is taken out before use, however far the raw means drift."""
    torch.manual_seed(0)
    encoder = NatureEncoder(image_size=(36, 36), feature_dim=5).double()
    for weight in encoder.centred:
        centre_(weight.detach())  # to the last of these digits
    images = random_images(6, 4, 36, 36)
    raw = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    for name in ("conv1.weight", "head.1.weight"):
        raw[name] += 0.1 * torch.randn(len(raw[name]), *[1] * (raw[name].ndim - 1))
    raw = {name: value.requires_grad_() for name, value in raw.items()}

    def less_mean(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: weight - weight.mean(dim=tuple(range(1, weight.ndim)), keepdim=True) if weight.ndim > 1 else weight
            for name, weight in weights.items()
        }

    of_encoder = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    of_raw = torch.optim.Adam(raw.values(), lr=1e-2)
    for _ in range(4):
        of_encoder.zero_grad()
        (encoder(images) - 1).square().mean().backward()
        encoder.centre_gradients()
        of_encoder.step()
        encoder.centre_weights()
        of_raw.zero_grad()
        (nature_by_hand(less_mean(raw), images) - 1).square().mean().backward()
        of_raw.step()
    means = torch.cat([weight.detach().flatten(1).mean(1) for weight in raw.values() if weight.ndim > 1])
    assert means.abs().max() > 0.1
    for name, value in less_mean(raw).items():
        torch.testing.assert_close(encoder.state_dict()[name], value.detach(), rtol=1e-7, atol=1e-9)


def test_filters_that_are_not_learned_keep_their_means():
    encoder = NatureEncoder(image_size=(36, 36)).requires_grad_(False)
    with torch.no_grad():
        encoder.conv1.weight += 1
    before = encoder.conv1.weight.clone()
    encoder.centre_gradients()
    encoder.centre_weights()
    assert torch.equal(encoder.conv1.weight, before)


@pytest.mark.parametrize("name", ["nature", "impala"])
def test_weights_come_from_the_global_seed(name):
    def make(seed: int) -> Encoder:
        torch.manual_seed(seed)
        return build_encoder(name, image_size=(44, 44))

    same, again, other = make(1), make(1), make(2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(same.parameters()), next(other.parameters()))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("natur", {}, "did you mean nature"),
        ("xyz", {}, "choose one of nature, impala"),
        ("nature", {"image_size": (35, 84)}, "at least 36x36, got 35x84"),
        ("nature", {"image_size": (84, 5)}, "at least 36x36, got 84x5"),
        ("impala", {"image_size": (84, 7)}, "at least 8x8, got 84x7"),
        ("nature", {"in_channels": 0}, "in_channels must be at least 1"),
        ("impala", {"feature_dim": 0}, "feature_dim must be at least 1"),
        ("impala", {"width": -1}, "width must be at least 1"),
    ],
)
def test_bad_arguments_are_one_clear_line(name, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        build_encoder(name, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "least"), [("nature", 36), ("impala", 8)])
def test_the_least_size_works(name, least):
    encoder = build_encoder(name, image_size=(least, least))
    assert encoder(random_images(2, 4, least, least)).shape == (2, encoder.feature_dim)


@pytest.mark.parametrize("shape", [(2, 3, 84, 84), (2, 4, 84, 80), (4, 84, 84)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"built for images \[N, 4, 84, 84\]"):
        build_encoder("nature")(random_images(*shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_space_to_depth_is_pixel_unshuffle(dtype: torch.dtype, size: int) -> None:
    images = torch.randint(256, (3, 2, 12, 24)).to(dtype)
    one = images[:, :1].to(memory_format=torch.channels_last)  # contiguous both ways, with the strides of one of them
    for layout in (images, images.to(memory_format=torch.channels_last), images.flip(3), one):
        out = space_to_depth(layout, size)
        assert torch.equal(out, functional.pixel_unshuffle(layout, size))
        assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(4, 84, 84), (3, 64, 96), (1, 85, 90), (2, 36, 37)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(8, 4, 0), (4, 2, 0), (3, 1, 1), (6, 4, 0), (8, 4, 2)])
def test_image_convolution_is_a_plain_convolution(
    shape: tuple[int, int, int], kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)
    layer = ImageConv2d(shape[0], 5, kernel_size=kernel, stride=stride, padding=padding).double()
    images = torch.randint(256, (2, *shape), dtype=torch.uint8)
    expected = functional.conv2d(images.double() / 255, layer.weight, layer.bias, stride, padding)
    scale = torch.randn_like(expected)
    gradient = torch.autograd.grad((expected * scale).sum(), [layer.weight, layer.bias])
    for given in (images, images.double() / 255):
        out = layer(given)
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
        got = torch.autograd.grad((out * scale).sum(), [layer.weight, layer.bias])
        torch.testing.assert_close(got, gradient, rtol=1e-10, atol=1e-9)


def test_image_convolution_has_a_gradient_to_float_images() -> None:
    torch.manual_seed(0)
    layer = ImageConv2d(2, 3, kernel_size=8, stride=4).double()
    images = torch.rand(2, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, images)
