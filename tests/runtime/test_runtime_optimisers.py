"""LARS against its formula, exclusions, schedules by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from relic_rl.runtime.optimisers import Lars, build_optimiser, set_learning_rate
from relic_rl.runtime.schedules import decay_to_one, scaled_learning_rate, warmup_cosine


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)).double()


def differentiate(net: nn.Module, seed: int) -> None:
    images = torch.randn(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(images).square().sum().backward()


def test_lars_is_its_formula():
    net, twin = network(), network()
    optimiser = build_optimiser("lars", [net], learning_rate=0.5, weight_decay=0.1, momentum=0.8)
    momenta = {name: torch.zeros_like(p) for name, p in twin.named_parameters()}
    for step in range(5):
        set_learning_rate(optimiser, 0.5 / (step + 1))
        differentiate(net, step)
        differentiate(twin, step)
        optimiser.step()
        with torch.no_grad():
            for name, weight in twin.named_parameters():
                update = weight.grad.clone()
                if weight.ndim > 1:
                    update += 0.1 * weight
                    update *= 1e-3 * weight.norm() / update.norm()
                momenta[name] = 0.8 * momenta[name] + update
                weight.sub_(0.5 / (step + 1) * momenta[name])
        net.load_state_dict({**net.state_dict(), **{k: v for k, v in twin.state_dict().items() if "running" in k}})
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_lars_with_zero_norms_takes_a_plain_step():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    Lars([weight], 0.1).step()
    assert torch.allclose(weight, torch.full((2, 2), -0.1))
    other = nn.Parameter(torch.ones(2, 2))
    other.grad = torch.zeros(2, 2)
    Lars([other], 0.1).step()
    assert torch.equal(other, torch.ones(2, 2))
    untouched = nn.Parameter(torch.ones(2, 2))
    Lars([untouched], 0.1).step()
    assert torch.equal(untouched, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_decay_is_for_kernels_only(name):
    net = network()
    optimiser = build_optimiser(name, [net, nn.ModuleList([net[0]])], learning_rate=0.1, weight_decay=0.3)
    by_id = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    assert len(by_id) == len(list(net.parameters()))  # shared ones once
    for parameter in net.parameters():
        group = by_id[id(parameter)]
        assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)
        if name == "lars":
            assert group["adapt"] == (parameter.ndim > 1)
    frozen = network()
    frozen[0].requires_grad_(False)
    groups = build_optimiser(name, [frozen], learning_rate=0.1, weight_decay=0.0).param_groups
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_state_continues_exactly(name):
    net = network()
    optimiser = build_optimiser(name, [net], learning_rate=0.1, weight_decay=0.01)
    for step in range(3):
        differentiate(net, step)
        optimiser.step()
    copied = copy.deepcopy(net)
    again = build_optimiser(name, [copied], learning_rate=9.0, weight_decay=0.5)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for step in range(3, 6):
        for module, each in ((net, optimiser), (copied, again)):
            differentiate(module, step)
            each.step()
    for a, b in zip(net.parameters(), copied.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_the_loss_falls(name):
    net = network()
    rate = 0.1 if name == "lars" else 0.02  # LARS steps biases plainly: more than this overshoots
    optimiser = build_optimiser(name, [net], learning_rate=rate, weight_decay=0.0)
    losses = []
    for _ in range(20):
        images = torch.randn(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        loss = (net(images) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_learning_rate_by_hand():
    def rate(update):
        return warmup_cosine(update, peak=2.0, warmup=3, total=11)

    assert [rate(u) for u in range(4)] == [0.5, 1.0, 1.5, 2.0]
    assert rate(7) == pytest.approx(1.0)  # half of the way down
    assert rate(5) == pytest.approx(1 + math.cos(math.pi / 4))
    assert rate(11) == pytest.approx(0, abs=1e-15)
    assert warmup_cosine(0, peak=2.0, warmup=0, total=5) == 2.0


def test_target_decay_by_hand():
    def decay(update):
        return decay_to_one(update, base=0.9, total=10)

    assert decay(0) == pytest.approx(0.9)
    assert decay(5) == pytest.approx(0.95)
    assert decay(10) == 1.0
    assert all(decay(u) < decay(u + 1) for u in range(10))


def test_linear_scaling_by_hand():
    assert scaled_learning_rate(0.3, 4096) == pytest.approx(4.8)
