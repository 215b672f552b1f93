"""The R2D2 update against one written step by step, sequence by sequence."""

import copy

import pytest
import torch
from r2d2_helpers import LAYOUTS, make_auxiliary, make_learner, make_network, make_replay, sample, slow_step
from test_agents_n_step import slow_target

from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import SequenceBatch, stack_frames


def slow_values(network: RecurrentQNetwork, batch: SequenceBatch, b: int, burn_in: int) -> torch.Tensor:
    """Action values of the rows from the first trained one to the last that exists."""
    images = stack_frames(batch.frames, 2)
    h, c = batch.state[:, b]
    values = []
    for t in range(int(batch.begin[b]), len(images)):
        if not batch.valid[t, b]:
            break
        if t == burn_in:
            h, c = h.detach(), c.detach()
        q, h, c = slow_step(network, images[t, b], int(batch.action_tm1[t, b]), float(batch.reward_t[t, b]), h, c)
        if t >= burn_in:
            values.append(q)
    return torch.stack(values)


def slow_update(online, target, batch, layout, discount, eta):
    """Loss and priorities; the loss carries gradient."""
    total, priorities = 0.0, []
    for b in range(len(batch.begin)):
        q = slow_values(online, batch, b, layout.burn_in)
        q_target = slow_values(target, batch, b, layout.burn_in).tolist()
        rows = range(layout.burn_in, layout.burn_in + len(q))
        follow = [t + 1 for t in rows]
        rewards = [float(batch.reward_t[t, b]) for t in follow if t < len(batch.valid)]
        discounts = [discount * (not batch.ends_return_t[t, b]) for t in follow if t < len(batch.valid)]
        ends = [bool(batch.ends_episode_t[t, b]) for t in follow if t < len(batch.valid)]
        errors = []
        for k in range(min(layout.length, len(q) - 1)):
            y = slow_target(k, layout.n_step, rewards, discounts, ends, q.tolist(), q_target)
            errors.append(y - q[k, int(batch.action_tm1[layout.burn_in + k + 1, b])])
        errors = torch.stack(errors)
        total = total + batch.weight[b] * (0.5 * errors.square()).sum() / len(batch.begin)
        size = errors.detach().abs()
        priorities.append(eta * size.max() + (1 - eta) * size.mean())
    return total, torch.stack(priorities)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_update_against_step_by_step(layout):
    """Loss, priorities and every gradient, over sequences that are short, end, truncate or lose lives."""
    network = make_network()
    learner = make_learner(network, layout, max_grad_norm=1e9, discount=0.9, eta=0.7)
    learner.target.load_state_dict(make_network(seed=1).state_dict())
    replay = make_replay(layout)
    first = sample(replay)
    replay.update_priorities(first.sequence, torch.rand(16))  # importance weights differ
    batch = sample(replay, 24)
    trained = batch.valid[layout.burn_in + 1 :]
    assert (batch.begin == layout.burn_in).any()
    assert (~trained).any()
    assert batch.ends_return_t.any()
    assert (batch.ends_episode_t & ~batch.ends_return_t).any()
    if layout.burn_in > layout.stride:
        assert ((batch.begin > 0) & (batch.begin < layout.burn_in)).any()
    online, target = copy.deepcopy(network), copy.deepcopy(learner.target)

    update = learner.update(batch)
    loss, priority = slow_update(online, target, batch, layout, 0.9, 0.7)
    torch.testing.assert_close(update.metrics["loss/td"], loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(update.metrics["loss/total"], loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(update.priority, priority, rtol=1e-4, atol=1e-5)
    loss.backward()
    for (name, p), slow in zip(network.named_parameters(), online.parameters(), strict=True):
        assert slow.grad.abs().sum() > 0, name
        torch.testing.assert_close(p.grad, slow.grad, rtol=1e-3, atol=2e-5, msg=name)
    assert all(p.grad is None for p in learner.target.parameters())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("poison", [1e30, float("inf"), float("nan")])
def test_rows_that_do_not_exist_change_nothing(layout, poison):
    replay = make_replay(layout)
    batch = sample(replay, 24)
    assert (~batch.valid).any()
    stacked = stack_frames(batch.frames, 2)
    gone = ~batch.valid
    # A padded row's newest frame; in front, frames up to the first row's stack must stay what they are.
    frames = batch.frames.clone()
    after = gone & (torch.arange(len(gone))[:, None] > layout.burn_in)
    frames[1:][after] = 255
    torch.testing.assert_close(stack_frames(frames, 2)[batch.valid], stacked[batch.valid])
    bad = batch._replace(
        frames=frames,
        reward_t=torch.where(gone, poison, batch.reward_t),
        action_tm1=torch.where(gone, 3, batch.action_tm1),
        ends_return_t=gone ^ batch.ends_return_t,
        ends_episode_t=gone ^ batch.ends_episode_t,
    )
    results = []
    for b in (batch, bad):
        network = make_network()
        learner = make_learner(network, layout)
        learner.target.load_state_dict(make_network(seed=1).state_dict())
        update = learner.update(b)
        results.append([update.priority, *update.metrics.values(), *network.parameters()])
    for clean, poisoned in zip(*results, strict=True):
        assert torch.isfinite(poisoned).all()
        torch.testing.assert_close(poisoned, clean, rtol=1e-6, atol=1e-7)


LAYOUT = LAYOUTS["paper's proportions"]


def test_target_is_copied_every_period():
    network = make_network()
    learner = make_learner(network, LAYOUT, target_period=3, learning_rate=1e-2)
    replay = make_replay(LAYOUT)
    copied = []
    for u in range(1, 8):
        before = [p.clone() for p in learner.target.parameters()]
        learner.update(sample(replay, 4, seed=u))
        same = [torch.equal(a, b) for a, b in zip(before, learner.target.parameters(), strict=True)]
        if not all(same):
            copied.append(u)
            for p, q in zip(learner.target.parameters(), network.parameters(), strict=True):
                assert torch.equal(p, q)
    assert copied == [3, 6]


def test_gradient_limit_covers_every_parameter():
    """Also the auxiliary head's: with it the norm of everything that the optimiser holds is the limit."""
    network = make_network()
    auxiliary = make_auxiliary(network, weight=100.0)
    learner = make_learner(network, LAYOUT, auxiliary=auxiliary, max_grad_norm=0.5)
    update = learner.update(sample(make_replay(LAYOUT)))
    assert update.metrics["gradient_norm"] > 0.5
    held = [p for group in learner.optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in [*network.parameters(), *auxiliary.objective.parameters()]}
    norm = torch.stack([p.grad.norm() for p in held]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    assert all(p.grad.abs().sum() > 0 for p in auxiliary.objective.parameters())


def test_auxiliary_loss_adds_up_and_leaves_priorities_alone():
    batch = sample(make_replay(LAYOUT))
    plain = make_learner(make_network(), LAYOUT).update(batch)
    network = make_network()
    auxiliary = make_auxiliary(network, weight=3.0)
    learner = make_learner(network, LAYOUT, auxiliary=auxiliary)
    update = learner.update(batch)
    torch.testing.assert_close(update.priority, plain.priority)
    m = update.metrics
    torch.testing.assert_close(m["loss/td"], plain.metrics["loss/td"])
    torch.testing.assert_close(m["loss/total"], m["loss/td"] + 3 * m["aux/loss"])
    assert auxiliary.objective.target_updates == 1


def test_auxiliary_loss_is_evaluated_when_due():
    network = make_network()
    learner = make_learner(network, LAYOUT, auxiliary=make_auxiliary(network, every=3))
    batch = sample(make_replay(LAYOUT))
    assert ["aux/loss" in learner.update(batch).metrics for _ in range(7)] == [True, False, False] * 2 + [True]


def test_auxiliary_frames_are_observations_of_trained_steps():
    """Without replacement, with their episodes as groups, never padding, burn-in or the extra rows."""
    network = make_network()
    replay = make_replay(LAYOUT)
    batch = sample(replay, 6)
    images = stack_frames(batch.frames, 2)
    trained = {}
    for t in range(LAYOUT.burn_in, LAYOUT.burn_in + LAYOUT.length):
        for b in range(6):
            if batch.valid[t, b]:
                trained[images[t, b].numpy().tobytes()] = int(batch.episode[b])
    for separate in (True, False):
        auxiliary = make_auxiliary(network, batch_size=10_000)
        learner = make_learner(network, LAYOUT, auxiliary=auxiliary, separate_episodes=separate)
        learner.update(batch)
        [(frames, groups)] = auxiliary.objective.seen
        count = int(batch.valid[LAYOUT.burn_in : LAYOUT.burn_in + LAYOUT.length].sum())
        assert len(frames) == count
        keys = [frame.numpy().tobytes() for frame in frames]
        assert set(keys) == trained.keys()
        if separate:
            assert groups.tolist() == [trained[key] for key in keys]
        else:
            assert groups is None


@pytest.mark.parametrize("spacing", [2, 3, LAYOUT.length])
def test_auxiliary_frames_of_a_sequence_keep_their_distance(spacing):
    """Trained steps at least ``spacing`` apart, as many as fit behind the first, which may be any."""
    network = make_network()
    batch = sample(make_replay(LAYOUT), 12)
    images = stack_frames(batch.frames, 2)
    place = {}
    for t in range(LAYOUT.length):
        for b in range(12):
            if batch.valid[LAYOUT.burn_in + t, b]:
                place.setdefault(images[LAYOUT.burn_in + t, b].numpy().tobytes(), []).append((b, t))
    auxiliary = make_auxiliary(network, batch_size=10_000)
    learner = make_learner(network, LAYOUT, auxiliary=auxiliary, auxiliary_spacing=spacing)
    firsts = set()
    for _ in range(20):
        learner.update(batch)
        found = [place[frame.numpy().tobytes()] for frame in auxiliary.objective.seen[-1][0]]
        assert {b for places in found for b, _ in places} == set(range(12))  # short sequences too
        unique = [places[0] for places in found if len(places) == 1]
        by_sequence = {b: sorted(t for c, t in unique if c == b) for b in range(12)}
        for steps in by_sequence.values():
            assert all((later - steps[0]) % spacing == 0 for later in steps)
            firsts |= set(steps[:1])
    assert firsts >= set(range(spacing))


def test_augmentation_is_seen_by_the_rl_loss_only():
    network = make_network()
    auxiliary = make_auxiliary(network)
    calls = []

    def black(images, generator):
        calls.append(images.shape)
        return torch.zeros_like(images)

    learner = make_learner(network, LAYOUT, auxiliary=auxiliary, augmentation=black)
    batch = sample(make_replay(LAYOUT))
    got = learner.update(batch).metrics["loss/td"]
    assert calls == [(16 * LAYOUT.rows, 2, 8, 8)]
    assert auxiliary.objective.seen[0][0].any()
    blackened = batch._replace(frames=torch.zeros_like(batch.frames))
    torch.testing.assert_close(got, make_learner(make_network(), LAYOUT).update(blackened).metrics["loss/td"])


def test_update_that_is_not_finite_is_skipped():
    network = make_network()
    learner = make_learner(network, LAYOUT)
    batch = sample(make_replay(LAYOUT))
    before = copy.deepcopy(network.state_dict())
    learner.update(batch._replace(weight=torch.full_like(batch.weight, float("nan"))))
    assert not learner.guard.sound
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_learning_continues_from_its_state():
    replay = make_replay(LAYOUT)

    def build():
        network = make_network()
        return make_learner(network, LAYOUT, auxiliary=make_auxiliary(network), target_period=4, learning_rate=1e-3)

    one = build()
    for u in range(3):
        one.update(sample(replay, 4, seed=u))
    two = build()
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for u in range(3, 6):
        a, b = one.update(sample(replay, 4, seed=u)), two.update(sample(replay, 4, seed=u))
        assert torch.equal(a.priority, b.priority)
        assert torch.equal(a.metrics["loss/total"], b.metrics["loss/total"])
    for p, q in zip(one.target.parameters(), two.target.parameters(), strict=True):
        assert torch.equal(p, q)


def test_loss_falls():
    """On one batch with a fixed target."""
    learner = make_learner(make_network(), LAYOUT, learning_rate=1e-2)
    batch = sample(make_replay(LAYOUT))
    losses = [learner.update(batch).metrics["loss/td"].item() for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
