"""PPO that collects a rollout while it learns from the one before."""

import copy
import io
from threading import get_ident
from types import SimpleNamespace

import pytest
import torch
from ppo_fakes import (
    MIXED,
    SHAPE,
    ScriptedEnv,
    SpyObjective,
    collect,
    make_auxiliary,
    make_ppo,
    spy_on_gradients,
    train,
    weights,
)

from agents import ppo_learner, rollout
from agents.background import BackgroundRounds
from agents.networks import copy_weights
from agents.ppo_parallel import Minibatch
from agents.rollout import ClosedRollout, PPOBatch
from agents.terms import Term, add_gradients, add_terms

FEWER_PASSES = {"total_steps": 9 * 12 * len(MIXED), "num_epochs": 2, "anneal_epochs": True, "anneal": False}
"""Two passes over each of the first three rollouts and one over those after them."""


@pytest.mark.parametrize(("most_passes_beside", "in_turns"), [(2, 0), (1, 3)])
def test_few_passes_go_beside_acting_and_more_take_turns(most_passes_beside, in_turns, monkeypatch):
    """The same as a plain loop that learns at once, but tells the acting network before that where passes are few."""
    options = {"most_passes_beside": most_passes_beside, **FEWER_PASSES}
    agent, twin = (make_ppo(overlap=True, **options) for _ in range(2))
    env, other = ScriptedEnv(), ScriptedEnv()
    step, twin_step = env.reset(), other.reset()
    lagged, history, expected = [], [], []
    close = agent._close_rollout

    def watch():
        closed = close()
        lagged.append(closed.acting_lagged)
        return closed

    monkeypatch.setattr(agent, "_close_rollout", watch)
    for number in range(6):
        trace, step = collect(agent, env, step)
        twin_trace, twin_step = collect(twin, other, twin_step)
        for mine, theirs in zip(trace, twin_trace, strict=True):
            assert mine.action.tolist() == theirs.action.tolist()
        history.append(agent.learn())
        closed = twin._close_rollout()
        twin._acting_lags = number >= in_turns
        if twin._acting_lags:
            copy_weights(twin.learner.network, twin.acting_network)
        expected.append(twin.learner.improve(closed))
        if not twin._acting_lags:
            copy_weights(twin.learner.network, twin.acting_network)
        assert agent.steps == twin.steps
    assert lagged == [number > in_turns for number in range(6)]
    assert history == [*expected[:in_turns], None, *expected[in_turns:-1]]
    assert torch.equal(agent.encoder.linear.weight, twin.learner.network.encoder.linear.weight)  # waits
    assert torch.equal(weights(agent), weights(twin))
    assert not torch.equal(agent.learner.network.policy.weight, agent.acting_network.policy.weight)


def test_rollouts_of_the_newest_policy_are_learned_from_as_in_turns():
    """Alternating agents and those that could overlap do the same as long as acting does not lag."""
    one, two = (make_ppo(overlap=overlap, most_passes_beside=1, num_epochs=2) for overlap in (False, True))
    two.learner.shared = None  # undivided, for the same numbers to the bit
    histories = [train(each, env := ScriptedEnv(), env.reset(), 3)[1] for each in (one, two)]
    assert histories[0] == histories[1]
    assert torch.equal(one.encoder.linear.weight, two.encoder.linear.weight)


def test_alternating_and_overlapping_begin_alike():
    """Both learn the same from the first rollout, whose only minibatch the network sees as it acted."""
    one, two = (make_ppo(overlap=overlap, num_minibatches=1) for overlap in (False, True))
    for agent in (one, two):
        env = ScriptedEnv()
        collect(agent, env, env.reset())
    assert two.learn() is None
    one.learn()
    torch.testing.assert_close(one.encoder.linear.weight, two.encoder.linear.weight)


def make_full_agent(overlap, **options):
    return make_ppo(overlap=overlap, auxiliary=make_auxiliary(SpyObjective(), every=4), **options)


def saved(agent):
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("iterations", "options"),
    [(0, {}), (2, {}), (1, {"most_passes_beside": 1, **FEWER_PASSES}), (5, {"most_passes_beside": 1, **FEWER_PASSES})],
    ids=["at once", "beside acting", "in turns", "after turns"],
)
def test_continues_from_its_state_to_the_bit(iterations, options):
    agent, twin = make_full_agent(True, **options), make_full_agent(True, **options)
    env = ScriptedEnv()
    step, _ = train(agent, env, env.reset(), iterations)
    twin.load_state_dict(saved(agent))
    env_then = copy.deepcopy(env)
    _, history = train(agent, env, step, 3)
    _, twin_history = train(twin, env_then, step, 3)
    assert [{**row, "aux/calls": 0} for row in twin_history if row] == [
        {**row, "aux/calls": 0} for row in history if row
    ]
    assert (twin.steps, twin.updates) == (agent.steps, agent.updates)
    assert options or agent.updates == 6 * (iterations + 3)
    assert torch.equal(twin.encoder.linear.weight, agent.encoder.linear.weight)
    assert torch.equal(weights(twin), weights(agent))


@pytest.mark.parametrize("overlap", [False, True])
def test_goes_on_with_or_without_overlap(overlap):
    agent, other = make_full_agent(overlap), make_full_agent(not overlap)
    env = ScriptedEnv()
    step, _ = train(agent, env, env.reset(), 2)
    other.load_state_dict(saved(agent))
    assert torch.equal(weights(other), weights(agent))
    assert other.updates == 12
    collect(other, env, step)
    assert (other.learn() is None) == (not overlap)
    assert not torch.equal(other.encoder.linear.weight, agent.encoder.linear.weight)
    assert other.updates == 18


def test_failure_of_learning_is_raised():
    agent = make_ppo(overlap=True)
    agent.learner._rl_loss = None
    env = ScriptedEnv()
    _, step = collect(agent, env, env.reset())
    assert agent.learn() is None
    collect(agent, env, step)
    with pytest.raises(TypeError, match="must be callable"):
        agent.learn()


def test_several_processes_are_refused():
    with pytest.raises(ValueError, match="in a single process only"):
        make_ppo(overlap=True, processes=SimpleNamespace(are_several=True))


def test_both_rollouts_must_fit(monkeypatch):
    one = 12 * len(MIXED) * SHAPE[0] * SHAPE[1] * SHAPE[2]
    monkeypatch.setattr(rollout, "available_memory", lambda: 2 * one - 1)
    make_ppo()
    with pytest.raises(ValueError, match="are left: lower --num-envs or --num-steps"):
        make_ppo(overlap=True)
    monkeypatch.setattr(rollout, "available_memory", lambda: 2 * one)
    make_ppo(overlap=True)


def test_each_thread_has_its_own_number_of_threads():
    torch.ones(2).sum()
    before = torch.get_num_threads()
    rounds = BackgroundRounds(lambda _: torch.get_num_threads(), torch.device("cpu"), before + 2)
    rounds.submit([0])
    assert rounds.collect() == [before + 2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("overlap", [True, False])
def test_overlapping_holds_ratios_near_what_the_first_epoch_saw(overlap, monkeypatch):
    agent = make_ppo(overlap=overlap, learning_rate=0.1)
    env = ScriptedEnv()
    _, step = collect(agent, env, env.reset())
    agent.learn()
    collect(agent, env, step)
    assert agent.encoder is agent.learner.network.encoder  # waits for what was learned from the first rollout
    acted = agent.rollout.log_prob.flatten().clone()
    where = {image.numpy().tobytes(): row for row, image in enumerate(agent.rollout.observation.flatten(0, 1))}
    seen = []
    loss = ppo_learner.ppo_loss

    def spy(output, batch, **options):
        seen.append((output, batch))
        return loss(output, batch, **options)

    monkeypatch.setattr(ppo_learner, "ppo_loss", spy)
    agent.learn()
    assert agent.guard.sound  # waits
    parts = 1 + overlap  # of each minibatch
    assert len(seen) == 6 * parts
    held, shifted = {}, 0
    for number, (output, batch) in enumerate(seen):
        now = output.logits.detach().log_softmax(-1).gather(1, batch.action[:, None]).squeeze(1)
        for k, image in enumerate(batch.observation):
            row = where[image.numpy().tobytes()]
            anchor = (batch.log_prob[k].item(), batch.value[k].item(), batch.weight[k].item())
            if not overlap:
                assert anchor[0] == acted[row].item()
                assert anchor[2] == 1
            elif number // parts < 3:
                assert anchor[:2] == (now[k].item(), output.value[k].item())
                assert anchor[2] == pytest.approx((now[k] - acted[row]).exp().item(), rel=1e-5)
                held[row] = anchor
            else:
                assert anchor == held[row]
                shifted += anchor[0] != now[k].item()
    assert (shifted > 10) == overlap


def test_augmented_frames_are_held_near_what_the_network_says_of_plain_ones(monkeypatch):
    agent = make_ppo(overlap=True, learning_rate=0.1, augmentation=lambda images, generator: 255 - images)
    env = ScriptedEnv()
    _, step = collect(agent, env, env.reset())
    agent.learn()
    collect(agent, env, step)
    assert agent.guard.sound  # waits for what was learned from the first rollout
    seen = []
    loss = ppo_learner.ppo_loss

    def spy(output, batch, **options):
        with torch.no_grad():
            plain = agent.learner.network(255 - batch.observation)
        seen.append((output, plain, batch))
        return loss(output, batch, **options)

    monkeypatch.setattr(ppo_learner, "ppo_loss", spy)
    agent.learn()
    assert agent.guard.sound  # waits
    assert len(seen) == 2 * 3 * 2  # epochs, minibatches, parts
    for output, plain, batch in seen[: 3 * 2]:  # the first epoch
        said = plain.logits.log_softmax(-1).gather(1, batch.action[:, None]).squeeze(1)
        torch.testing.assert_close(batch.log_prob, said)
        torch.testing.assert_close(batch.value, plain.value)
        assert not torch.allclose(output.value, plain.value, atol=1e-3)


def test_a_single_pass_beside_acting_is_held_near_the_policy_that_acted(monkeypatch):
    agent = make_ppo(overlap=True, learning_rate=0.1, num_epochs=1)
    env = ScriptedEnv()
    _, step = collect(agent, env, env.reset())
    agent.learn()
    collect(agent, env, step)
    assert agent.guard.sound  # waits for what was learned from the first rollout
    acted = agent.rollout
    values = acted.value[: len(acted.log_prob)]
    said = list(zip(acted.log_prob.flatten().tolist(), values.flatten().tolist(), strict=True))
    where = {image.numpy().tobytes(): row for row, image in enumerate(acted.observation.flatten(0, 1))}
    ratios = []
    loss = ppo_learner.ppo_loss

    def spy(output, batch, **options):
        now = output.logits.detach().log_softmax(-1).gather(1, batch.action[:, None]).squeeze(1)
        ratios.append((now - batch.log_prob).exp())
        for k, image in enumerate(batch.observation):
            assert (batch.log_prob[k].item(), batch.value[k].item()) == said[where[image.numpy().tobytes()]]
        assert torch.equal(batch.weight, torch.ones_like(batch.weight))
        return loss(output, batch, **options)

    monkeypatch.setattr(ppo_learner, "ppo_loss", spy)
    agent.learn()
    assert agent.guard.sound  # waits
    assert len(ratios) == 3 * 2  # two parts of each minibatch
    assert (ratios[0] - 1).abs().max() > 1e-3, "the policy had changed since the rollout was collected"


@pytest.mark.parametrize("overlap", [True, False])
def test_auxiliary_frames_are_drawn_for_the_updates_that_follow(overlap, monkeypatch):
    agent = make_full_agent(overlap)
    asked = []
    ahead = agent.learner.frames.ahead
    monkeypatch.setattr(agent.learner.frames, "ahead", lambda updates: asked.append(updates) or ahead(updates))
    env = ScriptedEnv()
    train(agent, env, env.reset(), 3)
    assert asked == [range(6), range(6, 12), range(12, 18)]


def test_the_policy_that_acted_says_what_its_last_observation_is_worth(monkeypatch):
    agent = make_ppo(overlap=True)
    env = ScriptedEnv()
    _, step = collect(agent, env, env.reset())
    agent.learn()
    _, step = collect(agent, env, step)
    assert agent.guard.sound  # waits
    image = torch.from_numpy(step.observation)
    with torch.no_grad():
        by_acting = agent.acting_network(image).value
        assert not torch.allclose(by_acting, agent.learner.network(image).value)
    said = []
    finish = agent.rollout.finish
    monkeypatch.setattr(
        agent.rollout, "finish", lambda value, **options: said.append(value) or finish(value, **options)
    )
    agent.learn()
    assert torch.equal(said[0], by_acting)


def make_dividing_agent(auxiliary, **options):
    return make_ppo(
        overlap=True,
        auxiliary=make_auxiliary(SpyObjective(), batch_size=2, every=2) if auxiliary else None,
        augmentation=lambda images, generator: images + torch.randint(9, images.shape, generator=generator).byte(),
        clip_value=True,
        max_grad_norm=1e9,
        **options,
    )


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("num_minibatches", [3, 20])  # of fifteen transitions, of two or three
def test_parts_add_up_to_the_whole_minibatch(auxiliary, num_minibatches):
    agent, whole = (make_dividing_agent(auxiliary, num_minibatches=num_minibatches) for _ in range(2))
    whole.learner.shared = None
    gradients, of_whole = spy_on_gradients(agent), spy_on_gradients(whole)
    histories = [train(each, env := ScriptedEnv(), env.reset(), 3)[1] for each in (agent, whole)]
    assert agent.guard.skipped == whole.guard.skipped == 0  # waits
    assert len(gradients) == len(of_whole) == 3 * 2 * num_minibatches
    for mine, others in zip(gradients, of_whole, strict=True):
        torch.testing.assert_close(mine, others, rtol=1e-3, atol=1e-5)
    for mine, others in zip(*histories, strict=True):
        assert mine == (others and pytest.approx(others, rel=1e-3, abs=1e-5))


def test_numbers_do_not_depend_on_who_computes_a_part(monkeypatch):
    agent, alone = (make_dividing_agent(True) for _ in range(2))
    monkeypatch.setattr(alone.learner.shared, "lend_a_hand", lambda until: None)
    lent = []
    take_one = agent.learner.shared._take_one
    monkeypatch.setattr(agent.learner.shared, "_take_one", lambda: take_one() and not lent.append(get_ident()))
    for each in (agent, alone):
        env = ScriptedEnv()
        train(each, env, env.reset(), 12)
    assert torch.equal(agent.encoder.linear.weight, alone.encoder.linear.weight)
    assert len(lent) == 12 * 6 * 2 + 12 * 3
    assert len(set(lent)) == 2


@pytest.mark.parametrize(
    ("frames", "every", "expected"),
    [
        (None, 1, [("rl", 8), ("rl", 7)]),
        (4, 1, [("rl", 13), ("auxiliary", 4), ("rl", 2)]),
        (4, 2, [("rl", 8), ("rl", 7)]),
        (6, 1, [("rl", 15), ("auxiliary", 6)]),
    ],
)
def test_two_threads_have_as_much_to_do(frames, every, expected):
    auxiliary = None if frames is None else make_auxiliary(SpyObjective(), batch_size=frames, every=every)
    agent = make_ppo(overlap=True, auxiliary=auxiliary)
    rollout = ClosedRollout(None, None, [15], 0.0, 0.0, range(6), [], True)
    minibatch = PPOBatch(*(torch.zeros(15, *shape) for shape in (SHAPE, *([()] * 7))))
    part = Minibatch(torch.arange(15), 1.0, 15, None)
    terms = agent.learner._terms(rollout._replace(batch=minibatch), part, 1, minibatch, iter(()))
    names = {agent.learner._rl_loss: "rl", agent.learner._auxiliary_loss: "auxiliary"}
    images = [term.args[-1].observation if names[term.func] == "rl" else term.args[0] for term in terms]
    assert [(names[term.func], len(some)) for term, some in zip(terms, images, strict=True)] == expected


def test_a_single_process_on_a_cpu_divides_only_beside_acting():
    assert make_ppo().learner.shared is None
    assert make_ppo(overlap=True).learner.shared is not None


def test_sum_of_gradients_has_the_layout_of_the_parameter():
    """Fused Adam walks through parameter and gradient side by side, whatever their strides."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2))
    gradients = [torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last) for _ in range(3)]
    for number in (1, 2, 3):
        total = add_gradients(weight, [None, *gradients[:number]])
        assert total.stride() == weight.stride()
        torch.testing.assert_close(total, torch.stack(gradients[:number]).sum(0))
    assert add_gradients(weight, [None, None]) is None


def test_sum_of_terms_adds_losses_and_all_their_metrics():
    weight = torch.tensor(2.0, requires_grad=True)
    one = Term(3 * weight, {"both": torch.tensor(1.0), "own": torch.tensor(5.0)})
    other = Term(weight.square(), {"both": torch.tensor(2.0), "also": torch.tensor(7.0)})
    loss, metrics = add_terms([one, other])
    assert loss.item() == 10
    assert torch.autograd.grad(loss, weight)[0].item() == 7
    assert metrics == {"both": 3, "own": 5, "also": 7}
    assert one.metrics["both"] == 1
