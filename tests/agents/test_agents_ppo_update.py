"""One optimiser step of PPO: loss, auxiliary loss, clipping, Adam, target, against slow versions of them."""

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from ppo_fakes import (
    SHAPE,
    ScriptedEnv,
    SpyObjective,
    collect,
    keys,
    make_auxiliary,
    make_network,
    make_ppo,
    plain,
    real_keys,
    spy_on_gradients,
    train,
)
from torch import Tensor

from agents.ppo_schedule import Schedule
from agents.replay import ReplayGeometry, SequenceLayout, SequenceReplay

FREE = 1e9  # a gradient norm limit that is never reached


def gradients_of_first_update(**options):
    """Gradients of one update on the whole of a rollout, and the agent."""
    agent = make_ppo(num_epochs=1, num_minibatches=1, **options)
    seen = spy_on_gradients(agent)
    env = ScriptedEnv()
    collect(agent, env, env.reset())
    agent.learn()
    assert len(seen) == 1
    return seen[0], agent


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


# ------------------------------------------------ the whole update against a slow one


def slow_targets(network, trace, last):
    """Per transition that happened: what PPO learns from, by a recursion along each environment."""
    rows = []
    length = len(trace)
    with torch.no_grad():
        outputs = [network(torch.from_numpy(d.before.observation)) for d in trace]
        values = [output.value.tolist() for output in outputs]
        values.append(network(torch.from_numpy(last.observation)).value.tolist())

    def advantage(t, i):
        after = trace[t].after
        sign = float(after.reward[i] > 0) - float(after.reward[i] < 0)
        if after.terminated[i]:
            return sign - values[t][i]
        delta = sign + 0.99 * values[t + 1][i] - values[t][i]
        if after.truncated[i] or t + 1 == length:
            return delta
        return delta + 0.99 * 0.95 * advantage(t + 1, i)

    for t, (before, action, after) in enumerate(trace):
        for i in range(len(action)):
            if not after.invented[i]:
                log_prob = outputs[t].logits[i].log_softmax(-1)[action[i]].item()
                rows.append((before.observation[i], int(action[i]), log_prob, values[t][i], advantage(t, i)))
    return rows


def slow_total(network, rows, clip=0.1):
    """PPO's loss, one transition at a time."""
    mean = sum(row[4] for row in rows) / len(rows)
    deviation = math.sqrt(sum((row[4] - mean) ** 2 for row in rows) / len(rows))
    total = 0.0
    for image, action, old_log_prob, old_value, advantage in rows:
        output = network(torch.from_numpy(image)[None])
        log_probs = output.logits[0].log_softmax(-1)
        ratio = (log_probs[action] - old_log_prob).exp()
        normalised = (advantage - mean) / (deviation + 1e-8)
        surrogates = [ratio * normalised, ratio.clamp(1 - clip, 1 + clip) * normalised]
        target = advantage + old_value
        near = old_value + (output.value[0] - old_value).clamp(-clip, clip)
        errors = [(output.value[0] - target) ** 2, (near - target) ** 2]
        entropy = -sum(p * p.log() for p in log_probs.exp())
        policy, value = -min(surrogates, key=Tensor.item), 0.5 * max(errors, key=Tensor.item)
        total = total + policy + 0.5 * value - 0.01 * entropy
    return total / len(rows)


@pytest.mark.parametrize("limit", [1e-3, FREE])
def test_three_updates_agree_with_a_slow_version_and_adam_by_hand(limit):
    """With the tiny norm limit gradients are near Adam's eps, so that a wrong eps shows."""
    network = make_network()
    twin = deepcopy(network)
    agent = make_ppo(network=network, num_epochs=3, num_minibatches=1, max_grad_norm=limit, anneal=False)
    env = ScriptedEnv()
    trace, last = collect(agent, env, env.reset())
    agent.learn()

    rows = slow_targets(twin, trace, last)
    parameters = list(twin.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    for k in (1, 2, 3):
        gradients = torch.autograd.grad(slow_total(twin, rows), parameters)
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
            clipped = g * min(1.0, limit / norm)
            m.mul_(0.9).add_(0.1 * clipped)
            v.mul_(0.999).add_(0.001 * clipped**2)
            update = (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k)).sqrt() + 1e-5)
            p.data.sub_(1e-2 * update)
    start = make_network().parameters()
    for p, q, before in zip(network.parameters(), parameters, start, strict=True):
        assert (p - before).abs().max() > 1e-3
        assert torch.allclose(p, q, atol=2e-5, rtol=0)


def test_settled_numbers():
    agent = make_ppo()
    group = agent.learner.optimizer.param_groups[0]
    assert type(agent.learner.optimizer) is torch.optim.Adam
    assert group["eps"] == 1e-5
    assert group["betas"] == (0.9, 0.999)
    assert group["weight_decay"] == 0
    assert (agent.discount, agent.gae_lambda, agent.learner.clip_range) == (0.99, 0.95, 0.1)
    assert (agent.learner.value_coefficient, agent.guard.max_norm) == (0.5, 0.5)
    assert Schedule(1000) == Schedule(1000, 2.5e-4, 0.0, True, 0.01, False, 4, False)


# ------------------------------------------------------------------ gradient norm


def test_one_norm_over_encoder_heads_and_auxiliary_head():
    free, agent = gradients_of_first_update(auxiliary=make_auxiliary(SpyObjective()), max_grad_norm=FREE)
    names = [name for name, _ in agent.learner.network.named_parameters()] + ["auxiliary weight", "auxiliary bias"]
    assert len(names) == len(free) == len({id(p) for p in agent.learner.parameters})
    for name, gradient in zip(names, free, strict=True):
        assert gradient.abs().max() > 0, name
    norm = flat(free).norm()
    clipped, _ = gradients_of_first_update(auxiliary=make_auxiliary(SpyObjective()), max_grad_norm=0.01)
    assert flat(clipped).norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(flat(clipped), flat(free) * (0.01 / norm), rtol=1e-3, atol=1e-9)


def test_small_gradients_are_left_alone():
    free, _ = gradients_of_first_update(max_grad_norm=FREE)
    same, _ = gradients_of_first_update(max_grad_norm=1.1 * flat(free).norm().item())
    assert torch.equal(flat(free), flat(same))


def test_the_reported_norm_is_that_before_clipping():
    free, _ = gradients_of_first_update(max_grad_norm=FREE)
    agent = make_ppo(num_epochs=1, num_minibatches=1, max_grad_norm=0.01)
    env = ScriptedEnv()
    _, history = train(agent, env, env.reset(), 1)
    assert history[0]["gradient_norm"] == pytest.approx(flat(free).norm().item(), rel=1e-5)


# ------------------------------------------------------------------ auxiliary loss


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_gradient_is_that_of_rl_plus_weight_times_auxiliary(weight):
    rl, _ = gradients_of_first_update(max_grad_norm=FREE)
    network = make_network()
    before = deepcopy(network)
    objective = SpyObjective()
    head_before = deepcopy(objective)
    both, _ = gradients_of_first_update(
        network=network, auxiliary=make_auxiliary(objective, weight=weight), max_grad_norm=FREE
    )
    loss = head_before(before.encoder, objective.views[0]).loss
    wanted = [*before.parameters(), *head_before.parameters()]
    aux = torch.autograd.grad(loss, wanted, allow_unused=True)
    assert aux[0].norm() > 0.01  # it reaches the encoder
    for k, gradient in enumerate(both):
        expected = torch.zeros_like(gradient) if aux[k] is None else weight * aux[k]
        if k < len(rl):
            expected = expected + rl[k]
        assert torch.allclose(gradient, expected, atol=1e-6, rtol=1e-4)


def test_every_k_updates_across_rollouts():
    objective = SpyObjective()
    agent = make_ppo(auxiliary=make_auxiliary(objective, every=4))
    seen = spy_on_gradients(agent)
    env = ScriptedEnv()
    train(agent, env, env.reset(), 3)  # 2 epochs x 3 minibatches each
    assert agent.updates == len(seen) == 18
    with_auxiliary = [k for k, gradients in enumerate(seen) if gradients[-1] is not None]
    assert with_auxiliary == [0, 4, 8, 12, 16]
    assert len(objective.views) == 5
    assert len(objective.updates) == 18


def auxiliary_and_minibatch_frames(auxiliary_frames, batch_size, **options):
    """Per update of two rollouts: (keys of the auxiliary frames, of the minibatch, of what happened)."""
    objective = SpyObjective()
    minibatches = []

    def spy(images, generator):
        minibatches.append(keys(images))
        return images

    agent = make_ppo(
        auxiliary=make_auxiliary(objective, batch_size=batch_size),
        auxiliary_frames=auxiliary_frames,
        augmentation=spy,
        **options,
    )
    env = ScriptedEnv()
    step, rows = env.reset(), []
    for _ in range(2):
        trace, step = collect(agent, env, step)
        happened = set(real_keys(trace))
        minibatches.clear()
        objective.views.clear()
        agent.learn()
        for views, minibatch in zip(objective.views, minibatches, strict=True):
            assert torch.equal(views[0], views[1])
            rows.append((keys(views[0]), set(minibatch), happened))
    return rows, objective


def test_frames_from_the_minibatch():
    rows, _ = auxiliary_and_minibatch_frames("minibatch", 6)
    assert len(rows) == 12
    for frames, minibatch, _ in rows:
        assert len(frames) == len(set(frames)) == 6
        assert set(frames) < minibatch
    few, _ = auxiliary_and_minibatch_frames("minibatch", 1_000)
    assert all(set(frames) == minibatch for frames, minibatch, _ in few)


def test_frames_from_the_rollout():
    rows, _ = auxiliary_and_minibatch_frames("rollout", 20)
    for frames, minibatch, happened in rows:
        assert len(frames) == len(set(frames)) == 20 > len(minibatch)
        assert set(frames) < happened
    assert len({tuple(frames) for frames, _, _ in rows}) == 12
    # Six draws of 20 from fewer than 48: next to none is left out, and none is out of reach.
    assert len(set().union(*(frames for frames, _, _ in rows[:6]))) > 0.9 * len(rows[0][2])


def test_frames_from_a_replay():
    """Uniformly from all that was ever seen, final observations included; groups are episodes."""
    objective = SpyObjective()
    env = ScriptedEnv()
    geometry = ReplayGeometry(env.num_envs, SHAPE, 4_000, stack=1, state_size=0, layout=SequenceLayout(1, 0, 0, 1))
    auxiliary = make_auxiliary(objective, batch_size=200)
    replay = SequenceReplay(geometry)
    agent = make_ppo(auxiliary=auxiliary, auxiliary_frames="replay", replay=replay, separate_envs=True)
    step, shown = env.reset(), set()
    for _ in range(3):
        trace, step = collect(agent, env, step)
        for decision in trace:
            shown |= {bytes(image) for image in decision.before.observation}
        objective.views.clear()
        agent.learn()
        drawn = [set(keys(views[0])) for views in objective.views]
        assert all(frames <= shown for frames in drawn)
        assert set().union(*drawn) == shown  # six draws of 200 leave none of at most 150 out
        assert len({frozenset(frames) for frames in drawn}) > 1
    groups = objective.groups[-1]
    assert (groups % env.num_envs).tolist() == objective.views[-1][0][:, 0, 0, 0].tolist()
    assert len(groups.unique()) > env.num_envs
    with pytest.raises(ValueError, match="replay"):
        make_ppo(auxiliary=auxiliary, auxiliary_frames="replay")
    with pytest.raises(ValueError, match="replay"):
        make_ppo(auxiliary=auxiliary, replay=replay)


def test_auxiliary_frames_are_plain_whatever_the_rl_loss_sees():
    objective = SpyObjective()
    agent = make_ppo(auxiliary=make_auxiliary(objective), augmentation=lambda images, _: 255 - images)
    env = ScriptedEnv()
    trace, _ = collect(agent, env, env.reset())
    agent.learn()
    known = {bytes(image) for decision in trace for image in decision.before.observation}
    assert all(set(keys(views[0])) <= known for views in objective.views)


@pytest.mark.parametrize("auxiliary_frames", ["minibatch", "rollout"])
def test_groups_are_the_environments_of_the_frames(auxiliary_frames):
    _, objective = auxiliary_and_minibatch_frames(auxiliary_frames, 6, separate_envs=True)
    pairs = zip(objective.views, objective.groups[-len(objective.views) :], strict=True)
    seen = set()
    for views, groups in pairs:
        assert groups.dtype == torch.int64
        assert groups.tolist() == views[0][:, 0, 0, 0].tolist()  # the first pixel is the environment
        seen |= set(groups.tolist())
    assert seen == {0, 1, 2, 3}
    _, objective = auxiliary_and_minibatch_frames(auxiliary_frames, 6)
    assert set(objective.groups) == {None}


# ------------------------------------------------------------------ RL frames


def test_the_rl_loss_sees_its_minibatch_augmented_once():
    """With ``augment``: the gradient is that of the loss on augmented frames, ratios against plain frames."""
    seen = []

    def invert(images, generator):
        seen.append(images)
        return 255 - images

    agent = make_ppo(num_epochs=1, num_minibatches=1, max_grad_norm=FREE, augmentation=invert)
    twin = deepcopy(agent.learner.network)
    gradients = spy_on_gradients(agent)
    env = ScriptedEnv()
    trace, last = collect(agent, env, env.reset())
    agent.learn()
    assert len(seen) == 1
    rows = [(255 - image, *rest) for image, *rest in slow_targets(twin, trace, last)]
    expected = torch.autograd.grad(slow_total(twin, rows), list(twin.parameters()))
    assert torch.allclose(flat(gradients[0]), flat(expected), atol=1e-5, rtol=1e-3)
    plain_rows = slow_targets(twin, trace, last)
    unlike = torch.autograd.grad(slow_total(twin, plain_rows), list(twin.parameters()))
    assert (flat(unlike) - flat(expected)).abs().max() > 1e-2


# ------------------------------------------------------------------ target update


def test_the_target_follows_each_completed_step_once():
    objective = SpyObjective()
    agent = make_ppo(auxiliary=make_auxiliary(objective, every=2))
    events = []
    agent.learner.optimizer.register_step_post_hook(
        lambda *_: events.append(agent.learner.network.encoder.linear.weight.detach().clone())
    )
    env = ScriptedEnv()
    train(agent, env, env.reset(), 2)
    assert len(objective.updates) == len(events) == 12
    for at_update, after_step in zip(objective.updates, events, strict=True):
        assert torch.equal(at_update, after_step)
    assert all(not torch.equal(x, y) for x, y in pairwise(events))


def test_a_skipped_step_moves_neither_weights_nor_target():
    objective = SpyObjective(nan_at=(1, 2))
    agent = make_ppo(auxiliary=make_auxiliary(objective), num_epochs=1, num_minibatches=4)
    env = ScriptedEnv()
    collect(agent, env, env.reset())
    before = []
    update = agent.learner._update

    def spying(*arguments):
        before.append([p.detach().clone() for p in agent.learner.parameters])
        return update(*arguments)

    agent.learner._update = spying
    agent.learn()
    before.append([p.detach().clone() for p in agent.learner.parameters])
    assert [all(map(torch.equal, x, y)) for x, y in pairwise(before)] == [
        False,
        True,
        True,
        False,
    ]
    assert len(objective.updates) == 2
    assert agent.guard.skipped == 2
    assert agent.updates == 4
    assert torch.isfinite(torch.cat([p.flatten() for p in agent.learner.parameters])).all()


def test_autocast_covers_every_forward_pass():
    """Acting, bootstrap, RL loss and auxiliary loss run the encoder in one type."""
    kinds = []
    network = make_network()
    network.encoder.linear.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    options = {"auxiliary": make_auxiliary(SpyObjective()), "autocast_dtype": torch.bfloat16, "augmentation": plain}
    agent = make_ppo(network=network, **options)
    env = ScriptedEnv()
    train(agent, env, env.reset(), 1)
    assert len(kinds) == 12 + 1 + 6 * (1 + 2)
    assert set(kinds) == {torch.bfloat16}


def test_acting_under_autocast_follows_what_is_learned():
    agent = make_ppo(autocast_dtype=torch.bfloat16)
    env = ScriptedEnv()
    step, _ = train(agent, env, env.reset(), 2)
    trace, _ = collect(agent, env, step)
    for t, decision in enumerate(trace):
        with torch.no_grad(), agent.learner.autocast():
            output = agent.learner.network(torch.from_numpy(decision.before.observation))
        assert torch.equal(agent.rollout.value[t], output.value)
