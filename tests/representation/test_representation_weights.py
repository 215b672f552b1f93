"""Weights files: exact round trips, adaptation of channels, and one clear line for what does not fit."""

import json
import os
import re
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import (
    load_critic_weights,
    load_encoder_weights,
    read_critic,
    save_critic,
    save_encoder,
)

METADATA = {"objective": "relic", "seed": 3, "env": "ALE/Pong-v5", "alpha": 1.0, "views": [1, 2]}


def make(seed: int = 0, name: str = "nature", channels: int = 4):
    torch.manual_seed(seed)
    return build_encoder(name, in_channels=channels, image_size=(40, 40), feature_dim=20)


def images(channels: int) -> Tensor:
    """Images whose channels are all alike."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 1, 40, 40, generator=generator).expand(-1, channels, -1, -1)


@pytest.mark.parametrize("name", ["nature", "impala"])
def test_round_trip(tmp_path, name):
    path = tmp_path / "encoder.safetensors"
    saved, loaded = make(0, name), make(1, name)
    save_encoder(path, saved, METADATA)
    report = load_encoder_weights(path, loaded)
    for a, b in zip(saved.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
    assert set(report.matched) == set(saved.state_dict())
    assert report.metadata == METADATA
    assert report.adapted == ""
    assert f"all {len(report.matched)} tensors loaded" in str(report)
    assert os.listdir(tmp_path) == ["encoder.safetensors"]


def test_filters_with_means_are_told_of(tmp_path):
    path = tmp_path / "encoder.safetensors"
    saved = make()
    with torch.no_grad():
        saved.conv2.weight[3] += 0.1
    save_encoder(path, saved, METADATA)
    loaded = make(1)
    assert loaded.lost_by_centring() == []
    load_encoder_weights(path, loaded)
    (told,) = loaded.lost_by_centring()
    assert re.match(r"filters have means, up to \d+\.\d% of their norm, which training takes out", told)
    loaded.conv2.requires_grad_(False)
    assert loaded.lost_by_centring() == []  # is not trained
    loaded.conv2.requires_grad_(True)
    loaded(images(4)).sum().backward()
    loaded.centre_weights()
    assert loaded.lost_by_centring() == []


def test_critic_round_trip(tmp_path):
    path = tmp_path / "critic.safetensors"
    saved, loaded = Critic(5, 6, 3, batch_norm=True), Critic(5, 6, 3, batch_norm=True)
    saved(torch.randn(8, 5))
    save_critic(path, saved, METADATA)
    report = load_critic_weights(path, loaded)
    assert "layers.1.num_batches_tracked" in report.matched
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    with pytest.raises(ValueError, match="does not fit Critic"):
        load_critic_weights(path, Critic(5, 6, 3, layers=1))


def test_same_weights_give_the_same_bytes_in_any_process(tmp_path):
    save_encoder(tmp_path / "here", make(), METADATA)
    program = (
        "import sys, torch\n"
        "from relic_rl.representation.encoders import build_encoder\n"
        "from relic_rl.representation.weights import save_encoder\n"
        "torch.manual_seed(0)\n"
        "encoder = build_encoder('nature', image_size=(40, 40), feature_dim=20)\n"
        f"save_encoder(sys.argv[1], encoder, dict(reversed({METADATA!r}.items())))\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "17"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], check=True, env=environment)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


@pytest.mark.parametrize("name", ["nature", "impala"])
@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (3, 4), (4, 3), (3, 1)])
def test_channels_are_adapted(tmp_path, name, old, new):
    path = tmp_path / "encoder.safetensors"
    saved, loaded = make(0, name, old), make(1, name, new)
    save_encoder(path, saved, {})
    report = load_encoder_weights(path, loaded)
    torch.testing.assert_close(loaded(images(new)), saved(images(old)), rtol=1e-4, atol=1e-5)
    assert f"from {old} to {new} image channels" in str(report)
    weight = loaded.state_dict()[loaded.input_weight]
    assert torch.equal(weight, weight[:, :1].expand_as(weight)), "all channels alike"


def unchanged_and_one_line(path, encoder, message) -> None:
    before = [p.clone() for p in encoder.parameters()]
    with pytest.raises(ValueError, match=message) as error:
        load_encoder_weights(path, encoder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(path))
    for p, old in zip(encoder.parameters(), before, strict=True):
        assert torch.equal(p, old)


def missing(tensors):
    del tensors["conv2.bias"]


def left_over(tensors):
    tensors["policy.weight"] = torch.zeros(2, 2)


def wrong_shape(tensors):
    tensors["conv3.weight"] = tensors["conv3.weight"][:, :, :2].contiguous()


def wrong_outputs_and_channels(tensors):
    tensors["conv1.weight"] = torch.zeros(16, 1, 8, 8)


def not_finite(tensors):
    tensors["conv2.weight"][0, 0, 0, 0] = torch.nan


def infinite(tensors):
    tensors["conv2.bias"][3] = -torch.inf


def integers(tensors):
    tensors["conv2.weight"] = tensors["conv2.weight"].to(torch.int32)


def integer_input(tensors):
    tensors["conv1.weight"] = tensors["conv1.weight"][:, :1].to(torch.int32).contiguous()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, r"conv2\.bias missing, none left over"),
        (left_over, r"none missing, policy\.weight left over"),
        (wrong_shape, r"conv3\.weight is \[64, 64, 2, 3\], not \[64, 64, 3, 3\]"),
        (wrong_outputs_and_channels, r"conv1\.weight is \[16, 1, 8, 8\], not \[32, 4, 8, 8\]"),
        (not_finite, r"conv2\.weight is not finite"),
        (infinite, r"conv2\.bias is not finite"),
        (integers, r"conv2\.weight has type torch.int32"),
        (integer_input, r"conv1\.weight is \[32, 1, 8, 8\]"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, damage, message):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, make(), METADATA)
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    unchanged_and_one_line(path, make(1), message)


def test_other_architecture_is_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, make(name="impala"), METADATA)
    unchanged_and_one_line(path, make(1), "does not fit NatureEncoder")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage\nof two lines",
        b"\xff" * 64,
        struct.pack("<Q", 10**15) + b"{}",
        struct.pack("<Q", 4) + b"{]}\n",
    ],
)
def test_files_that_are_no_safetensors(tmp_path, content):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(content)
    unchanged_and_one_line(path, make(), "not a sound safetensors file")


def test_truncated_file(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, make(), METADATA)
    path.write_bytes(path.read_bytes()[:-10])
    unchanged_and_one_line(path, make(1), "not a sound safetensors file")


def test_missing_file_and_folder(tmp_path):
    unchanged_and_one_line(tmp_path / "nowhere", make(), "no weights file at")
    unchanged_and_one_line(tmp_path, make(), "no weights file at")


def test_files_of_others_have_empty_metadata(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_file(make().state_dict(), path)
    assert load_encoder_weights(path, make(1)).metadata == {}
    save_file(make().state_dict(), path, {"made_by": json.dumps([1])})
    assert load_encoder_weights(path, make(1)).metadata == {}
    save_file(make().state_dict(), path, {"made_by": "not json"})
    unchanged_and_one_line(path, make(1), "not a sound safetensors file")


def test_half_precision_weights_are_widened(tmp_path):
    path = tmp_path / "encoder.safetensors"
    saved = make()
    save_encoder(path, make().half(), METADATA)
    loaded = make(1)
    load_encoder_weights(path, loaded)
    for a, b in zip(saved.parameters(), loaded.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(b, a.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"layers": 1}, {}, {"batch_norm": True}])
def test_a_critic_is_built_as_its_file_says(tmp_path, options):
    path = tmp_path / "critic.safetensors"
    saved = Critic(5, 6, 3, **options)
    if options.get("batch_norm"):
        saved(torch.randn(8, 5))
    save_critic(path, saved, METADATA)
    critic, report = read_critic(path)
    assert report.metadata == METADATA
    features = torch.randn(4, 5)
    assert torch.equal(critic.eval()(features), saved.eval()(features))
    save_encoder(path, make(), METADATA)
    with pytest.raises(ValueError, match="holds no critic"):
        read_critic(path)
    save_file({"layers.0.weight": torch.ones(6, 5), "layers.2.weight": torch.ones(3, 4)}, path)
    with pytest.raises(ValueError, match="does not fit Critic"):
        read_critic(path)
