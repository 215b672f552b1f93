"""Initialisation and precision of the PPO network."""

import pytest
import torch
from ppo_fakes import SHAPE, TinyEncoder

from agents.networks import ActorCritic, orthogonal_linear


@pytest.mark.parametrize("gain", [0.01, 1.0, 2**0.5])
def test_rows_are_orthogonal_with_the_gain(gain):
    torch.manual_seed(0)
    layer = orthogonal_linear(64, 6, gain)
    gram = layer.weight @ layer.weight.T
    assert torch.allclose(gram, gain**2 * torch.eye(6), atol=1e-5 * gain**2)
    assert torch.equal(layer.bias, torch.zeros(6))


def test_the_heads_have_their_gains():
    torch.manual_seed(0)
    network = ActorCritic(TinyEncoder(), 6)
    policy, value = network.policy.weight, network.value.weight
    assert policy.shape == (6, 8)
    assert torch.allclose(policy @ policy.T, 1e-4 * torch.eye(6), atol=1e-9)
    assert value.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert not network.policy.bias.any()
    assert not network.value.bias.any()
    # A policy that starts all but uniform.
    images = torch.randint(0, 256, (32, *SHAPE), dtype=torch.uint8)
    assert (network(images).logits.softmax(-1) - 1 / 6).abs().max() < 0.01


def test_forward_is_the_heads_on_the_features():
    torch.manual_seed(0)
    network = ActorCritic(TinyEncoder(), 3)
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    output = network(images)
    linear = network.encoder.linear
    features = torch.tanh(images.flatten(1).float() / 255 @ linear.weight.T + linear.bias)
    assert output.logits.shape == (5, 3)
    assert output.value.shape == (5,)
    assert torch.allclose(output.logits, features @ network.policy.weight.T, atol=1e-6)
    assert torch.allclose(output.value, features @ network.value.weight[0], atol=1e-6)


def test_the_heads_stay_in_float32_under_autocast():
    torch.manual_seed(0)
    network = ActorCritic(TinyEncoder(), 3)
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.encoder(images)
        output = network(images)
    assert features.dtype == torch.bfloat16  # autocast did reach the encoder
    assert output.logits.dtype == output.value.dtype == torch.float32
    exact = features.float() @ network.policy.weight.T
    assert torch.allclose(output.logits, exact, atol=1e-6)
