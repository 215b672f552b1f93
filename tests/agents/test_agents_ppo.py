"""The loop of PPO around its update: decisions, what is learned from, schedule, counts, continuing."""

import copy
import io
from itertools import chain

import numpy as np
import pytest
import torch
from ppo_fakes import (
    MIXED,
    Game,
    ScriptedEnv,
    SpyObjective,
    collect,
    keys,
    make_auxiliary,
    make_network,
    make_ppo,
    plain,
    real_keys,
    train,
    weights,
)

from agents import ppo_learner
from agents.policies import sample_categorical
from relic_rl.representation.critic import Critic
from relic_rl.representation.objectives import RelicObjective


class SpyAugmentation:
    """Changes nothing, or inverts; remembers its inputs."""

    def __init__(self, invert=False):
        self.invert = invert
        self.seen = []

    def __call__(self, images, generator):
        self.seen.append(images.clone())
        return 255 - images if self.invert else images


# ---------------------------------------------------------------- decisions


def test_actions_are_drawn_from_the_categorical():
    log_probs = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(20_000, -1)
    actions = sample_categorical(log_probs, torch.Generator().manual_seed(0))
    frequencies = torch.bincount(actions, minlength=3) / len(actions)
    assert torch.allclose(frequencies, torch.tensor([0.1, 0.2, 0.7]), atol=0.012)  # four standard deviations


@pytest.mark.parametrize("augment", [False, True])
def test_decisions_are_stored_with_what_plain_frames_say(augment):
    augmentation = SpyAugmentation(invert=True) if augment else None
    agent = make_ppo(augmentation=augmentation)
    env = ScriptedEnv()
    trace, _ = collect(agent, env, env.reset())
    for t, decision in enumerate(trace):
        with torch.no_grad():
            output = agent.learner.network(torch.from_numpy(decision.before.observation))
        for i, action in enumerate(decision.action):
            log_prob = output.logits[i].log_softmax(-1)[action].item()
            assert agent.rollout.log_prob[t, i].item() == pytest.approx(log_prob, abs=1e-6)
            assert agent.rollout.value[t, i].item() == pytest.approx(output.value[i].item(), abs=1e-6)
            assert agent.rollout.action[t, i] == action
        assert np.array_equal(agent.rollout.observation[t].numpy(), decision.before.observation)
    if augmentation:
        assert not augmentation.seen
        agent.learn()
        assert augmentation.seen


def test_no_update_before_the_rollout_is_full():
    agent = make_ppo()
    env = ScriptedEnv()
    step, before = env.reset(), weights(agent)
    for _ in range(11):
        step = env.step(agent.act(step))
        agent.observe(step)
        assert agent.learn() is None
    assert torch.equal(weights(agent), before)
    agent.observe(env.step(agent.act(step)))
    assert agent.learn() is not None
    assert not torch.equal(weights(agent), before)
    assert agent.learn() is None


def test_agent_steps_are_decisions():
    agent = make_ppo()
    env = ScriptedEnv()
    first, step = collect(agent, env, env.reset())
    agent.learn()
    second, _ = collect(agent, env, step)
    invented = sum(int(decision.after.invented.sum()) for decision in first + second)
    assert invented >= 6
    assert agent.steps == 2 * 12 * len(MIXED) - invented


# ---------------------------------------------------------- what is learned from


def test_minibatches_partition_what_happened_once_per_epoch():
    augmentation = SpyAugmentation()
    agent = make_ppo(augmentation=augmentation, num_minibatches=3, num_epochs=4)
    env = ScriptedEnv()
    step = env.reset()
    orders = []
    for _ in range(2):
        trace, step = collect(agent, env, step)
        augmentation.seen.clear()
        agent.learn()
        minibatches = [keys(images) for images in augmentation.seen]
        assert len(minibatches) == 12
        expected = sorted(real_keys(trace))
        assert len(set(expected)) == len(expected) < 12 * len(MIXED)
        for epoch in range(4):
            parts = minibatches[3 * epoch : 3 * epoch + 3]
            order = tuple(chain(*parts))
            assert sorted(order) == expected
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            orders.append(order)
    assert len(set(orders)) == 8  # a new order every time


@pytest.mark.parametrize("auxiliary_frames", ["minibatch", "rollout"])
def test_invented_steps_are_absent_from_every_loss(auxiliary_frames):
    """Poison all that is stored of them, after the decisions are made: not a bit changes."""
    results = []
    for poison in (False, True):
        objective = SpyObjective()
        agent = make_ppo(
            auxiliary=make_auxiliary(objective),
            auxiliary_frames=auxiliary_frames,
            clip_reward=False,
            augmentation=plain,
        )
        env = ScriptedEnv(invented_reward=1e30 if poison else 0.0)
        step = env.reset()
        for _ in range(2):
            trace, step = collect(agent, env, step)
            invented = torch.from_numpy(np.stack([decision.after.invented for decision in trace]))
            assert invented.any()
            if poison:
                agent.rollout.observation[invented] = 255
                agent.rollout.action[invented] = 2
                agent.rollout.log_prob[invented] = -1e30
            metrics = agent.learn()
        assert np.isfinite(list(metrics.values())).all()
        results.append((weights(agent), metrics))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("clip_reward", [True, False])
def test_only_the_learner_sees_the_sign_of_the_reward(clip_reward, monkeypatch):
    agent = make_ppo(clip_reward=clip_reward, discount=0.0)
    env = ScriptedEnv()
    trace, _ = collect(agent, env, env.reset())
    raw = np.stack([decision.after.reward for decision in trace])
    assert np.abs(raw).max() > 1
    assert (raw == 0).any()
    kept = raw.copy()
    returns = spy_on_batches(agent, monkeypatch)
    agent.learn()
    assert np.array_equal(raw, kept)
    expected = np.sign(raw) if clip_reward else raw
    assert torch.allclose(returns[0].return_, torch.from_numpy(expected).flatten(), atol=1e-6)


def spy_on_batches(agent, monkeypatch):
    """The list that every batch the agent learns from will be added to."""
    batches = []
    finish = agent.rollout.finish

    def spying(*arguments, **options):
        result = finish(*arguments, **options)
        batches.append(result[0])
        return result

    monkeypatch.setattr(agent.rollout, "finish", spying)
    return batches


@pytest.mark.parametrize("life_loss", [False, True])
def test_a_lost_life_ends_the_return_only_when_asked(life_loss, monkeypatch):
    agent = make_ppo(life_loss_ends_return=life_loss, gae_lambda=1.0, discount=0.9)
    env = ScriptedEnv()
    trace, last = collect(agent, env, env.reset())
    with torch.no_grad():
        values = torch.stack(
            [agent.learner.network(torch.from_numpy(d.before.observation)).value for d in trace]
            + [agent.learner.network(torch.from_numpy(last.observation)).value]
        )
    batches = spy_on_batches(agent, monkeypatch)
    agent.learn()
    losses = 0
    for i in range(len(MIXED)):
        for t, (before, _, after) in enumerate(trace):
            if after.invented[i]:
                continue
            lost = after.lives[i] < before.lives[i] and not after.terminated[i]
            losses += lost
            total, factor = 0.0, 1.0
            for k in range(t, len(trace)):  # the discounted sum of rewards, walked forward
                before_k, _, after_k = trace[k]
                total += factor * np.sign(after_k.reward[i])
                factor *= 0.9
                if after_k.terminated[i] or (life_loss and after_k.lives[i] < before_k.lives[i]):
                    break
                if after_k.truncated[i] or k + 1 == len(trace):
                    total += factor * values[k + 1, i].item()
                    break
            assert batches[0].return_[t * len(MIXED) + i].item() == pytest.approx(total, abs=1e-5)
    assert losses >= 4


def test_the_last_step_of_a_rollout_bootstraps_from_what_followed_it(monkeypatch):
    """With the network of before the update; games cut by the time limit at that very step included."""
    games = [[Game(12, truncated=True)], [Game(12)], [Game(50)], [Game(11)]]
    agent = make_ppo(gae_lambda=0.0)
    env = ScriptedEnv(games)
    _, last = collect(agent, env, env.reset())
    assert last.truncated.tolist() == [True, False, False, False]
    assert last.invented.tolist() == [False, False, False, True]
    with torch.no_grad():
        value = agent.learner.network(torch.from_numpy(last.observation)).value
    batches = spy_on_batches(agent, monkeypatch)
    agent.learn()
    returns = batches[0].return_.reshape(12, 4)[-1]
    sign = torch.from_numpy(np.sign(last.reward))
    assert returns[0].item() == pytest.approx((sign[0] + 0.99 * value[0]).item(), abs=1e-6)
    assert returns[1].item() == pytest.approx(sign[1].item(), abs=1e-6)
    assert returns[2].item() == pytest.approx((sign[2] + 0.99 * value[2]).item(), abs=1e-6)


def test_too_few_transitions_for_the_minibatches_are_refused():
    with pytest.raises(ValueError, match="1 environments x 5 steps are too few for 3 minibatches"):
        make_ppo(num_envs=1, num_steps=5, num_minibatches=3)


def test_games_of_one_step_leave_no_minibatch_empty():
    """Every other step is invented; with as many minibatches as are allowed each holds one transition."""
    agent = make_ppo(num_envs=2, num_steps=6, num_minibatches=6)
    env = ScriptedEnv([[Game(1)], [Game(1, truncated=True)]])
    before = weights(agent)
    _, history = train(agent, env, env.reset(), 2)
    assert agent.guard.skipped == 0
    assert np.isfinite(history[0]["loss/total"])
    assert not torch.equal(weights(agent), before)


# ------------------------------------------------------------------- schedule


def test_the_learning_rate_falls_linearly_to_zero():
    agent = make_ppo(total_steps=100)
    env = ScriptedEnv()
    step, expected, rates = env.reset(), [], []
    while agent.steps < 140:
        expected.append(1e-2 * max(0.0, 1 - agent.steps / 100))
        _, step = collect(agent, env, step)
        before = weights(agent)
        rates.append(agent.learn()["learning_rate"])
        assert [group["lr"] for group in agent.learner.optimizer.param_groups] == [rates[-1]]
        assert torch.equal(before, weights(agent)) == (rates[-1] == 0)
    assert rates == pytest.approx(expected, abs=1e-12)
    assert rates[0] == 1e-2
    assert rates[-1] == 0.0
    assert len(set(rates)) >= 4


@pytest.mark.parametrize("anneal", [True, False])
def test_the_epochs_become_fewer_if_asked_and_never_none(anneal, monkeypatch):
    agent = make_ppo(total_steps=150, num_epochs=4, anneal_epochs=anneal)
    env = ScriptedEnv()
    step, expected, seen = env.reset(), [], []
    update = agent.learner._update
    monkeypatch.setattr(agent.learner, "_update", lambda *a: seen.append(a[2]) or update(*a))
    while agent.steps < 200:
        left = max(0.0, 1 - agent.steps / 150)
        expected.append(max(1, round(4 * left)) if anneal else 4)
        _, step = collect(agent, env, step)
        before = len(seen)
        agent.learn()
        assert len(seen) - before == 3 * expected[-1]
    assert seen == list(range(3 * sum(expected)))  # each update once, numbered on through all rollouts
    assert agent.updates == len(seen)
    assert set(expected) == ({4, 3, 2, 1} if anneal else {4})


@pytest.mark.parametrize("anneal", [True, False])
def test_the_entropy_bonus_falls_linearly_to_zero_if_asked(anneal, monkeypatch):
    agent = make_ppo(total_steps=100, anneal=False, anneal_entropy=anneal, entropy_coefficient=0.5)
    env = ScriptedEnv()
    step, used = env.reset(), []
    loss = ppo_learner.ppo_loss

    def spy(*arguments, entropy_coefficient, **options):
        used.append(entropy_coefficient)
        return loss(*arguments, entropy_coefficient=entropy_coefficient, **options)

    monkeypatch.setattr(ppo_learner, "ppo_loss", spy)
    while agent.steps < 140:
        expected = 0.5 * max(0.0, 1 - agent.steps / 100) if anneal else 0.5
        _, step = collect(agent, env, step)
        used.clear()
        assert agent.learn()["learning_rate"] == 1e-2
        assert used == [pytest.approx(expected, abs=1e-12)] * 6
    assert (expected == 0) == anneal


@pytest.mark.parametrize("anneal", [True, False])
def test_the_learning_rate_rises_first_if_asked(anneal):
    agent = make_ppo(total_steps=200, warmup=0.5, anneal=anneal)
    env = ScriptedEnv()
    step, used = env.reset(), []
    while agent.steps < 140:
        before = agent.steps
        _, step = collect(agent, env, step)
        used.append(agent.learn()["learning_rate"])
        left = 1 - before / 200 if anneal else 1
        assert used[-1] == pytest.approx(1e-2 * left * min(1, agent.steps / 100), abs=1e-12)
    assert 0 < used[0] < used[1]


def test_the_learning_rate_stays_without_annealing():
    agent = make_ppo(total_steps=50, anneal=False)
    env = ScriptedEnv()
    _, history = train(agent, env, env.reset(), 3)
    assert [metrics["learning_rate"] for metrics in history] == [1e-2] * 3


def test_metrics_are_means_over_the_minibatches():
    agent = make_ppo(auxiliary=make_auxiliary(SpyObjective(), every=4))
    env = ScriptedEnv()
    collect(agent, env, env.reset())
    rows = []
    update = agent.learner._update
    agent.learner._update = lambda *arguments: rows.append(update(*arguments)) or rows[-1]
    metrics = agent.learn()
    assert len(rows) == 6
    for name in ("loss/policy", "loss/value", "policy/entropy", "loss/total", "gradient_norm", "aux/calls"):
        values = [row[name].item() for row in rows if name in row]
        assert len(values) == (2 if name == "aux/calls" else 6)
        assert metrics[name] == pytest.approx(np.mean(values), rel=1e-5)


# -------------------------------------------------------------- reproducibility


def full_agent(seed=0):
    """An agent that uses every stream: RELIC with random augmentation, and augmented RL frames."""

    def noise(images, generator):
        return images.float() / 255 + 0.1 * torch.randn(images.shape, generator=generator)

    network = make_network(seed)
    objective = RelicObjective(network.encoder, Critic(network.encoder.feature_dim, layers=2, hidden_dim=8, out_dim=4))
    auxiliary = make_auxiliary(
        objective, augmentation=noise, generator=torch.Generator().manual_seed(seed + 50), every=2
    )
    return make_ppo(seed=seed, network=network, auxiliary=auxiliary, auxiliary_frames="rollout", augmentation=noise)


def test_same_seed_same_weights():
    results = []
    for seed in (0, 0, 1):
        agent = full_agent(seed)
        env = ScriptedEnv()
        train(agent, env, env.reset(), 3)
        results.append(weights(agent))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_nothing_is_drawn_from_the_global_generators():
    agent = full_agent()
    env = ScriptedEnv()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(agent, env, env.reset(), 1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_continues_from_its_state_to_the_bit():
    agent = full_agent()
    env = ScriptedEnv()
    step, _ = train(agent, env, env.reset(), 2)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    env_then = copy.deepcopy(env)
    _, history = train(agent, env, step, 2)

    twin = full_agent(seed=3)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    _, twin_history = train(twin, env_then, step, 2)
    assert torch.equal(weights(twin), weights(agent))
    assert twin_history == history
    assert (twin.steps, twin.updates) == (agent.steps, agent.updates)
    target, twin_target = agent.learner.auxiliary.objective.target, twin.learner.auxiliary.objective.target
    assert all(torch.equal(x, y) for x, y in zip(target.parameters(), twin_target.parameters(), strict=True))


def test_the_policy_for_evaluation_leaves_training_alone():
    agent = make_ppo(augmentation=lambda images, _: 255 - images)
    step = ScriptedEnv().reset()
    state = agent.generators["action"].get_state()
    policy = agent.policy(torch.Generator().manual_seed(1), num_envs=len(MIXED))
    draws = np.stack([policy(step) for _ in range(2_000)])
    plain_frames = agent.learner.network(torch.from_numpy(step.observation)).logits.softmax(-1).detach().numpy()
    frequencies = np.stack([(draws == a).mean(0) for a in range(3)], axis=1)
    assert np.abs(frequencies - plain_frames).max() < 0.045  # four standard deviations
    assert torch.equal(agent.generators["action"].get_state(), state)
    assert agent.rollout.position == agent.steps == 0
