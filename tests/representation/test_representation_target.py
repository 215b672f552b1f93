"""The averaged target and the critic."""

import copy

import pytest
import torch
from torch import nn

from relic_rl.representation.critic import Critic
from relic_rl.representation.target import TargetNetwork


def make(decay: float) -> tuple[nn.Module, Critic, TargetNetwork]:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))
    critic = Critic(5, 7, 3, batch_norm=True)
    return encoder, critic, TargetNetwork(encoder, critic, decay)


def perturb(*modules: nn.Module) -> None:
    with torch.no_grad():
        for module in modules:
            for value in (*module.parameters(), *module.buffers()):
                value.add_(torch.randn(value.shape) if value.is_floating_point() else 3)


def test_starts_equal_and_apart():
    encoder, critic, target = make(0.9)
    images = torch.rand(4, 12)
    torch.testing.assert_close(target(images), critic(encoder(images)), rtol=0, atol=0)
    before = target(images)
    perturb(encoder, critic)
    torch.testing.assert_close(target(images), before, rtol=0, atol=0)


def test_update_is_the_average_and_copies_buffers():
    encoder, critic, target = make(0.9)
    expected = copy.deepcopy(target.state_dict())
    parameters = {name for name, _ in target.named_parameters()}
    for _ in range(3):
        perturb(encoder, critic)
        target.update(encoder, critic)
        online = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
        online |= {f"critic.{k}": v for k, v in critic.state_dict().items()}
        for name, value in expected.items():
            if name in parameters:
                flat, new = value.view(-1), online[name].view(-1)
                for i in range(len(flat)):
                    flat[i] = 0.9 * flat[i].item() + 0.1 * new[i].item()
            else:
                value.copy_(online[name])
    found = target.state_dict()
    assert any("num_batches_tracked" in name for name in found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_extreme_decays_are_exact(decay):
    encoder, critic, target = make(decay)
    before = [p.clone() for p in target.parameters()]
    perturb(encoder, critic)
    target.update(encoder, critic)
    expected = before if decay == 1 else [*encoder.parameters(), *critic.parameters()]
    for found, value in zip(target.parameters(), expected, strict=True):
        assert torch.equal(found, value)


def test_no_gradient_inside():
    encoder, critic, target = make(0.9)
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in (*encoder.parameters(), *critic.parameters()))
    assert not target(torch.rand(4, 12, requires_grad=True)).requires_grad


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_outside_its_range(decay):
    with pytest.raises(ValueError, match="fraction of the old target kept"):
        make(decay)


def test_critic_of_one_and_two_layers():
    torch.manual_seed(0)
    features = torch.randn(6, 5)
    one, two = Critic(5, 7, 3, layers=1), Critic(5, 7, 3)
    linear = one.layers[0]
    torch.testing.assert_close(one(features), features @ linear.weight.T + linear.bias)
    first, last = two.layers[0], two.layers[-1]
    hidden = (features @ first.weight.T + first.bias).clamp_min(0)
    torch.testing.assert_close(two(features), hidden @ last.weight.T + last.bias)
    assert not list(two.buffers()), "no batch statistics by default"


def test_critic_with_batch_norm_normalises_hidden_units():
    torch.manual_seed(0)
    critic = Critic(5, 7, 3, batch_norm=True)
    hidden = critic.layers[1](critic.layers[0](torch.randn(64, 5)))
    torch.testing.assert_close(hidden.mean(0), torch.zeros(7), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 3}, "1 or 2 layers"),
        ({"layers": 1, "batch_norm": True}, "use two layers"),
        ({"out_dim": 0}, "at least 1"),
    ],
)
def test_bad_critics(arguments, message):
    with pytest.raises(ValueError, match=message):
        Critic(**{"in_dim": 5, "hidden_dim": 7, "out_dim": 3} | arguments)
