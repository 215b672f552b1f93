"""The loss against scalar loops, its gradient against finite differences of those loops."""

import math

import pytest
import torch

from agents.networks import PolicyAndValue
from agents.ppo_loss import anchored, ppo_loss
from agents.rollout import PPOBatch

CLIP = 0.1
OPTIONS = {"clip_range": CLIP, "value_coefficient": 0.5, "entropy_coefficient": 0.03}


def slow_loss(logits, values, batch, *, clip_range, clip_value, value_coefficient, entropy_coefficient):
    """All terms in plain Python floats: (total, policy, value, entropy, kl, clip fraction)."""
    size = len(logits)
    mean = sum(batch["advantage"]) / size
    deviation = math.sqrt(sum((a - mean) ** 2 for a in batch["advantage"]) / size)
    policy = value = entropy = kl = outside = 0.0
    for b in range(size):
        normaliser = sum(math.exp(x) for x in logits[b])
        probs = [math.exp(x) / normaliser for x in logits[b]]
        ratio = probs[batch["action"][b]] / math.exp(batch["log_prob"][b])
        advantage = (batch["advantage"][b] - mean) / (deviation + 1e-8)
        if ratio < 1 - clip_range:
            clipped = 1 - clip_range
        elif ratio > 1 + clip_range:
            clipped = 1 + clip_range
        else:
            clipped = ratio
        outside += clipped != ratio
        policy -= batch["weight"][b] * min(ratio * advantage, clipped * advantage) / size
        error = (values[b] - batch["return_"][b]) ** 2
        if clip_value:
            change = max(-clip_range, min(clip_range, values[b] - batch["value"][b]))
            error = max(error, (batch["value"][b] + change - batch["return_"][b]) ** 2)
        value += 0.5 * error / size
        entropy -= sum(p * math.log(p) for p in probs) / size
        kl += (ratio - 1 - math.log(ratio)) / size
    total = policy + value_coefficient * value - entropy_coefficient * entropy
    return total, policy, value, entropy, kl, outside / size


def random_case(seed, size=24, actions=4):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logits = normal(size, actions)
    action = torch.randint(0, actions, (size,), generator=generator)
    now = logits.log_softmax(-1).gather(1, action[:, None])[:, 0]
    old_value = normal(size)
    batch = PPOBatch(
        observation=torch.zeros(size, 1, 1, 1, dtype=torch.uint8),
        action=action,
        log_prob=now + 0.15 * normal(size),  # about half of the ratios leave the clip range, on both sides
        weight=0.5 + torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        value=old_value,
        advantage=2 + 3 * normal(size),
        return_=old_value + 0.3 * normal(size),
        env=torch.zeros(size, dtype=torch.int64),
    )
    return PolicyAndValue(logits, old_value + 0.15 * normal(size)), batch


def as_lists(batch):
    return {name: value.tolist() for name, value in batch._asdict().items()}


@pytest.mark.parametrize("clip_value", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scalar_loops(seed, clip_value):
    output, batch = random_case(seed)
    fast = ppo_loss(output, batch, clip_value=clip_value, **OPTIONS)
    slow = slow_loss(output.logits.tolist(), output.value.tolist(), as_lists(batch), clip_value=clip_value, **OPTIONS)
    assert [x.item() for x in fast] == pytest.approx(slow, abs=1e-7)
    assert 0.2 < fast.clip_fraction.item() < 0.9
    # The clipping of the value takes part in the number.
    other = ppo_loss(output, batch, clip_value=not clip_value, **OPTIONS)
    assert abs(other.value.item() - fast.value.item()) > 5e-4


@pytest.mark.parametrize("clip_value", [True, False])
def test_gradient_agrees_with_finite_differences(clip_value):
    output, batch = random_case(11, size=10, actions=3)
    leaves = PolicyAndValue(*(x.clone().requires_grad_() for x in output))
    ppo_loss(leaves, batch, clip_value=clip_value, **OPTIONS).total.backward()
    lists = as_lists(batch)

    def total(logits, values):
        return slow_loss(logits, values, lists, clip_value=clip_value, **OPTIONS)[0]

    h = 1e-6
    for name in ("logits", "value"):
        for place in range(getattr(output, name).numel()):
            difference = 0.0
            for sign in (1, -1):
                moved = {key: value.clone() for key, value in output._asdict().items()}
                moved[name].view(-1)[place] += sign * h
                difference += sign * total(moved["logits"].tolist(), moved["value"].tolist())
            gradient = getattr(leaves, name).grad.view(-1)[place].item()
            assert gradient == pytest.approx(difference / (2 * h), abs=1e-7)


def tiny_batch(log_prob, advantage, value, return_):
    size = len(log_prob)
    return PPOBatch(
        observation=torch.zeros(size, 1, 1, 1, dtype=torch.uint8),
        action=torch.zeros(size, dtype=torch.int64),
        log_prob=torch.tensor(log_prob),
        weight=torch.ones(size),
        value=torch.tensor(value),
        advantage=torch.tensor(advantage),
        return_=torch.tensor(return_),
        env=torch.zeros(size, dtype=torch.int64),
    )


def test_by_hand():
    """Two actions of probability 1/2; old probabilities 1/4 and 1, so the ratios are 2 and 1/2."""
    batch = tiny_batch([math.log(0.25), 0.0], [5.0, 1.0], [0.0, 0.0], [1.0, 1.0])
    output = PolicyAndValue(torch.zeros(2, 2), torch.tensor([0.5, 0.05]))
    loss = ppo_loss(output, batch, clip_value=True, **OPTIONS)
    # Normalised advantages 1 and -1: surrogates min(2, 1.1) = 1.1 and min(-0.5, -0.9) = -0.9.
    assert loss.policy.item() == pytest.approx(-(1.1 - 0.9) / 2)
    # Values 0.5 (kept to 0.1: error 0.81 > 0.25) and 0.05 (inside: 0.9025).
    assert loss.value.item() == pytest.approx(0.5 * (0.81 + 0.9025) / 2)
    assert loss.entropy.item() == pytest.approx(math.log(2))
    assert loss.clip_fraction.item() == 1.0
    assert loss.total.item() == pytest.approx(-0.1 + 0.5 * 0.428125 - 0.03 * math.log(2))


def test_shift_and_scale_of_the_advantages_do_not_matter():
    output, batch = random_case(5)
    moved = batch._replace(advantage=1000 + 50 * batch.advantage)
    one = ppo_loss(output, batch, clip_value=True, **OPTIONS)
    other = ppo_loss(output, moved, clip_value=True, **OPTIONS)
    assert other.policy.item() == pytest.approx(one.policy.item(), abs=1e-7)


def test_a_minibatch_of_one_is_finite():
    batch = tiny_batch([math.log(0.5)], [3.0], [0.0], [1.0])
    logits = torch.zeros(1, 2, requires_grad=True)
    loss = ppo_loss(PolicyAndValue(logits, torch.zeros(1)), batch, clip_value=True, **OPTIONS)
    loss.total.backward()
    assert loss.policy.item() == 0.0  # nothing to compare its advantage with
    assert torch.isfinite(logits.grad).all()


def test_only_the_total_carries_gradient():
    output, batch = random_case(0)
    leaves = PolicyAndValue(*(x.requires_grad_() for x in output))
    loss = ppo_loss(leaves, batch, clip_value=True, **OPTIONS)
    assert [x.requires_grad for x in loss] == [True] + 5 * [False]


def test_anchored_is_as_if_the_network_had_acted_but_for_the_weights():
    """Nothing is clipped there, and the gradient is that of the importance-weighted policy gradient."""
    output, batch = random_case(5)
    logits = output.logits.requires_grad_()
    held = anchored(output, batch)
    assert torch.equal(held.value, output.value)
    now = logits.log_softmax(-1).gather(1, batch.action[:, None])[:, 0]
    assert torch.equal(held.log_prob, now)
    assert not held.log_prob.requires_grad
    # The weight is that of the ratio to the policy that acted, on top of the one that was there.
    torch.testing.assert_close(held.weight, batch.weight * (now.detach() - batch.log_prob).exp())
    loss = ppo_loss(output, held, clip_value=True, **(OPTIONS | {"value_coefficient": 0.0, "entropy_coefficient": 0.0}))
    assert loss.clip_fraction == 0
    advantage = (batch.advantage - batch.advantage.mean()) / batch.advantage.std(correction=0)
    expected = torch.autograd.grad(-(held.weight * advantage * now).mean(), logits, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(loss.total, logits)[0], expected)
