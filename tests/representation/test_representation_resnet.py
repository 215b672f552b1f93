"""ResNets: torchvision's names and sizes, the definition written out, and weights that go both ways."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.encoders.resnet import IMAGENET_MEAN, IMAGENET_STD
from relic_rl.representation.objectives import RelicObjective
from relic_rl.representation.weights import load_encoder_weights, save_encoder

STAGES = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def torchvision_names(name: str) -> set[str]:
    """The keys of torchvision's state dict, by its naming rule, `fc` left out."""

    def batch_norm(prefix):
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{prefix}.{kind}" for kind in kinds}

    convolutions = 2 if name == "resnet18" else 3
    names = {"conv1.weight", *batch_norm("bn1")}
    for stage, depth in enumerate(STAGES[name], start=1):
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            for i in range(1, convolutions + 1):
                names |= {f"{prefix}.conv{i}.weight", *batch_norm(f"{prefix}.bn{i}")}
            if block == 0 and (stage > 1 or name == "resnet50"):
                names |= {f"{prefix}.downsample.0.weight", *batch_norm(f"{prefix}.downsample.1")}
    return names


@pytest.mark.parametrize(
    ("name", "parameters", "keys"), [("resnet18", 11_689_512 - 513_000, 122), ("resnet50", 25_557_032 - 2_049_000, 320)]
)
def test_names_and_sizes_are_torchvision_s(name, parameters, keys):
    encoder = build_encoder(name, in_channels=3, image_size=(224, 224))
    state = encoder.state_dict()
    assert set(state) == torchvision_names(name)
    assert len(state) == keys - 2  # torchvision's count, less fc.weight and fc.bias
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert encoder.feature_dim == (512 if name == "resnet18" else 2048)
    assert state["layer3.0.conv1.weight"].shape == ((256, 128, 3, 3) if name == "resnet18" else (256, 512, 1, 1))


def by_hand(name: str, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    def conv(x, prefix, stride=1):
        weight = weights[f"{prefix}.weight"]
        return functional.conv2d(x, weight, None, stride, padding=weight.shape[-1] // 2)

    def norm(x, prefix):
        mean, var = weights[f"{prefix}.running_mean"], weights[f"{prefix}.running_var"]
        return functional.batch_norm(x, mean, var, weights[f"{prefix}.weight"], weights[f"{prefix}.bias"])

    mean, std = (torch.tensor(v).double().view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    x = (images.double() / 255 - mean) / std
    x = functional.max_pool2d(norm(conv(x, "conv1", 2), "bn1").relu(), 3, 2, 1)
    for stage, depth in enumerate(STAGES[name], start=1):
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            if name == "resnet18":
                inner = norm(conv(x, f"{prefix}.conv1", stride), f"{prefix}.bn1").relu()
                inner = norm(conv(inner, f"{prefix}.conv2"), f"{prefix}.bn2")
            else:
                inner = norm(conv(x, f"{prefix}.conv1"), f"{prefix}.bn1").relu()
                inner = norm(conv(inner, f"{prefix}.conv2", stride), f"{prefix}.bn2").relu()
                inner = norm(conv(inner, f"{prefix}.conv3"), f"{prefix}.bn3")
            if f"{prefix}.downsample.0.weight" in weights:
                x = norm(conv(x, f"{prefix}.downsample.0", stride), f"{prefix}.downsample.1")
            x = (x + inner).relu()
    return x.mean((2, 3))


@pytest.mark.parametrize("name", STAGES)
def test_forward_is_the_definition(name):
    torch.manual_seed(0)
    encoder = build_encoder(name, in_channels=3, image_size=(64, 64)).double()
    with torch.no_grad():
        for key, value in encoder.state_dict().items():
            if "running_mean" in key:
                value.normal_(0, 0.1)
            elif "running_var" in key:
                value.uniform_(0.5, 2)
    images = torch.randint(0, 256, (2, 3, 64, 40), dtype=torch.uint8)
    encoder.eval()
    expected = by_hand(name, encoder.state_dict(), images)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(encoder(images), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(encoder(images.double() / 255), expected, rtol=1e-9, atol=1e-9)
    maps = encoder.feature_maps(images)
    assert tuple(m.shape[1] for m in maps) == encoder.map_channels
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2]


def test_images_of_any_size_but_no_smaller_than_a_location():
    encoder = build_encoder("resnet18", in_channels=1, image_size=(64, 64)).eval()
    assert encoder(torch.zeros(1, 1, 96, 32)).shape == (1, 512)
    for shape in ((1, 1, 31, 64), (1, 3, 64, 64), (1, 64, 64)):
        with pytest.raises(ValueError, match="32 or more"):
            encoder(torch.zeros(shape))
    with pytest.raises(ValueError, match="at least 32x32"):
        build_encoder("resnet18", image_size=(24, 64))
    with pytest.raises(ValueError, match="feature_dim"):
        build_encoder("resnet50", feature_dim=10)


def test_torchvision_s_files_load_with_their_classifier_left_out(tmp_path):
    torch.manual_seed(0)
    theirs = build_encoder("resnet18", in_channels=3, image_size=(64, 64))
    state = dict(theirs.state_dict()) | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    save_file(state, tmp_path / "resnet18.safetensors")
    ours = build_encoder("resnet18", in_channels=3, image_size=(64, 64))
    report = load_encoder_weights(tmp_path / "resnet18.safetensors", ours)
    assert report.adapted == "left out: fc"
    assert "fc.weight" not in report.matched
    for a, b in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    grey = build_encoder("resnet18", in_channels=4, image_size=(64, 64))
    both = load_encoder_weights(tmp_path / "resnet18.safetensors", grey).adapted
    assert "left out: fc" in both
    assert "3 to 4" in both


def test_what_a_file_holds_is_told_where_it_does_not_fit(tmp_path):
    encoder = build_encoder("resnet18", in_channels=3, image_size=(64, 64))
    save_encoder(tmp_path / "a.safetensors", encoder, {"encoder": "resnet18", "image_size": [64, 64]})
    state = encoder.state_dict() | {"fc.bias": torch.zeros(10)}
    save_file(state, tmp_path / "b.safetensors", {"made_by": '{"encoder": "resnet18"}'})
    with pytest.raises(ValueError, match=r"none missing, fc\.bias left over"):  # of ours nothing is left out
        load_encoder_weights(tmp_path / "b.safetensors", encoder)
    with pytest.raises(ValueError, match="the file holds resnet18 for images of 64x64") as caught:
        load_encoder_weights(tmp_path / "a.safetensors", build_encoder("nature"))
    assert len(str(caught.value).replace(str(tmp_path), "")) < 350


def test_small_views_are_anchors_only():
    """Against the loss of outputs computed apart: large views see both networks, small ones the online one."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", in_channels=3, image_size=(64, 64)).eval()
    objective = RelicObjective(encoder, Critic(512, 16, 8), target_views=2)
    large = [torch.rand(4, 3, 64, 64) for _ in range(2)]
    small = [torch.rand(4, 3, 32, 32) for _ in range(3)]
    seen = []
    assert objective.target is not None
    objective.target.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    out = objective(encoder, [*large, *small])
    assert seen == [(8, 3, 64, 64)]

    online = [functional.normalize(objective.critic(encoder(view)), dim=1) for view in (*large, *small)]
    target = [functional.normalize(objective.target(view), dim=1) for view in large]
    log_p = {
        (a, k): torch.log_softmax(online[a] @ target[k].T / 0.1, dim=1) for a in range(5) for k in range(2) if a != k
    }
    contrastive = -torch.stack([p.diagonal().mean() for p in log_p.values()]).mean()
    pairs = [(p.exp() * (p - q)).sum(1).mean() for a, p in log_p.items() for b, q in log_p.items() if a != b]
    expected = contrastive + torch.stack(pairs).mean()
    torch.testing.assert_close(out.loss, expected, rtol=1e-4, atol=1e-5)
    out.loss.backward()
    assert all(p.grad is not None for p in encoder.parameters())
    with pytest.raises(ValueError, match="target_views"):
        RelicObjective(encoder, Critic(512, 16, 8), target_views=1)
