"""The R2D2 network and actor, and the agent as a whole."""

import copy
import time

import numpy as np
import pytest
import torch
from naive_replay import Stream
from r2d2_helpers import (
    ACTIONS,
    LAYOUTS,
    STATE,
    make_auxiliary,
    make_geometry,
    make_learner,
    make_network,
    make_replay,
    sample,
    slow_step,
)

from agents.r2d2 import R2D2
from agents.r2d2_actor import RecurrentActor, epsilon_ladder
from agents.replay import SequenceReplay, stack_frames
from envs.types import EnvStep
from relic_rl.runtime.checkpoint import to_plain

LAYOUT = LAYOUTS["paper's proportions"]


def make_actor(network, epsilon=0.0, num_envs=3):
    return RecurrentActor(network, torch.full((num_envs,), epsilon), torch.Generator().manual_seed(0))


def test_unroll_against_step_by_step():
    network = make_network()
    batch = sample(make_replay(LAYOUT), 5)
    images = stack_frames(batch.frames, 2)
    outputs, state = network.remember(network.features(images), batch.action_tm1, batch.reward_t, batch.state)
    values = network.action_values(outputs)
    assert (batch.action_tm1 < 0).any()
    for b in range(5):
        h, c = batch.state[:, b]
        for t in range(LAYOUT.rows):
            q, h, c = slow_step(network, images[t, b], int(batch.action_tm1[t, b]), float(batch.reward_t[t, b]), h, c)
            torch.testing.assert_close(values[t, b], q, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[:, b], torch.stack([h, c]), rtol=1e-4, atol=1e-5)


def test_forget_gate_starts_open():
    p = dict(make_network().lstm.named_parameters())
    bias = (p["bias_ih_l0"] + p["bias_hh_l0"])[STATE : 2 * STATE]
    torch.testing.assert_close(bias, torch.ones(STATE))


def test_ladder_values():
    torch.testing.assert_close(epsilon_ladder(1), torch.tensor([0.4**4.5]))
    torch.testing.assert_close(epsilon_ladder(2), torch.tensor([0.4, 0.4**8]))
    torch.testing.assert_close(epsilon_ladder(8), torch.tensor([0.4 ** (1 + i) for i in range(8)]), rtol=1e-5, atol=0)
    assert (epsilon_ladder(256).diff() < 0).all()


def test_actor_against_step_by_step():
    """Greedy actions, states and previous actions over games that end and are broken off."""
    network = make_network()
    actor = make_actor(network)
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=6)
    h, c = torch.zeros(3, STATE), torch.zeros(3, STATE)
    before = [-1] * 3
    for t in range(40):
        step, _, _ = stream.step(restart=t == 20)
        decision = actor.act(step)
        for i in range(3):
            if step.invented[i]:
                h[i], c[i], before[i] = 0, 0, -1
            assert decision.action_tm1[i] == before[i]
            torch.testing.assert_close(decision.state[:, i], torch.stack([h[i], c[i]]))
            with torch.no_grad():
                q, h[i], c[i] = slow_step(
                    network, torch.from_numpy(step.observation[i]), before[i], float(step.reward[i]), h[i], c[i]
                )
            assert q[decision.action[i]] >= q.max() - 1e-5
            before[i] = int(decision.action[i])


def test_rewards_of_invented_steps_are_not_seen():
    network = make_network()
    step = Stream(make_geometry(LAYOUT), seed=0, mean_length=6).step()[0]
    other = step._replace(reward=np.full(3, 100, dtype=np.float32))
    states = []
    for first in (step, other):
        actor = make_actor(network)
        actor.act(first)
        states.append(actor.act(step._replace(invented=np.zeros(3, dtype=bool))).state)
    torch.testing.assert_close(*states)


def test_actor_explores_as_told():
    """3000 copies of one environment, in thirds of different epsilon."""
    network = make_network()
    step = Stream(make_geometry(LAYOUT), seed=0, mean_length=6).step()[0]
    many = EnvStep(*(field[:1].repeat(3000, axis=0) for field in step))
    epsilon = torch.tensor([1.0, 0.5, 0.0]).repeat_interleave(1000)
    action = RecurrentActor(network, epsilon, torch.Generator().manual_seed(0)).act(many).action
    always, half, never = action.reshape(3, 1000)
    assert len(np.unique(never)) == 1
    np.testing.assert_allclose(np.bincount(always, minlength=ACTIONS) / 1000, 1 / ACTIONS, atol=0.05)
    assert (half == never[0]).mean() == pytest.approx(0.5 + 0.5 / ACTIONS, abs=0.05)


def make_agent(auxiliary=None, **options):
    network = make_network()
    options = {"batch_size": 4, "steps_per_update": 6, "learning_starts": 60} | options
    if auxiliary is not None:
        auxiliary = make_auxiliary(network, **auxiliary)
    return R2D2(
        make_actor(make_network() if options.get("overlap") else network, 0.3),
        make_learner(network, LAYOUT, target_period=10, auxiliary=auxiliary),
        SequenceReplay(make_geometry(LAYOUT)),
        **options,
    )


def run(agent, stream, step, steps):
    """Act, observe, learn; the step to go on with and the number of updates after each."""
    updates = []
    for _ in range(steps):
        agent.act(step)
        step, _, _ = stream.step()
        agent.observe(step)
        agent.learn()
        updates.append((agent.steps, agent.updates))
    return step, updates


def test_updates_keep_step_with_acting():
    agent = make_agent()
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    parameters = [p.clone() for p in agent.learner.network.parameters()]
    step, begun, decided = stream.step()[0], None, 0
    for _ in range(80):
        agent.act(step)
        before = agent.steps
        step, _, _ = stream.step()
        agent.observe(step)
        agent.learn()
        if agent.replay.num_observations >= 60:  # learning_starts
            begun = before if begun is None else begun
            decided = agent.steps - begun
        assert agent.updates == decided // 6
    assert agent.updates > 15
    assert agent.replay.position == 80
    for p, q in zip(parameters, agent.learner.network.parameters(), strict=True):
        assert not torch.equal(p, q)
    priorities = agent.replay._sampler.tree.leaves
    assert len(np.unique(priorities[priorities > 0])) > 5


def test_replayed_states_are_those_the_actor_had():
    """Unrolling from a stored state, with unchanged weights, gives the states stored later on."""
    agent = make_agent(learning_starts=10**9)
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=30)
    run(agent, stream, stream.step()[0], 150)
    network, replay = agent.learner.network, agent.replay
    batch = sample(replay, 32)
    images = stack_frames(batch.frames, 2)
    checked = 0
    for b in range(32):
        sequence = int(batch.sequence[b])
        for a in range(32):
            later = int(batch.sequence[a])
            gap = (later - sequence) // 3
            same = batch.episode[a] == batch.episode[b] and gap == LAYOUT.burn_in
            if not same or batch.begin[b] or batch.begin[a]:
                continue
            rows = slice(0, gap)
            _, state = network.remember(
                network.features(images[rows, b : b + 1]),
                batch.action_tm1[rows, b : b + 1],
                batch.reward_t[rows, b : b + 1],
                batch.state[:, b : b + 1],
            )
            torch.testing.assert_close(state[:, 0], batch.state[:, a], rtol=1e-4, atol=1e-5)
            checked += 1
    assert checked > 3


@pytest.mark.parametrize("counts", [True, False])
def test_lost_life_ends_the_return_if_it_counts(counts):
    agent = make_agent(life_loss_ends_return=counts, learning_starts=10**9)
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=1e9)
    lives = np.array([3, 3, 0], dtype=np.int32)
    for t in range(40):
        if t == 5:
            lives = np.array([2, 3, 0], dtype=np.int32)
        agent.act(stream.step()[0]._replace(lives=lives))
    ends = agent.replay._storage.flags[:40] & 1
    assert ends.sum() == counts
    assert ends[5, 0] == counts
    assert not (agent.replay._storage.flags[:40] & 2).any()


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("steps_per_update", [6, 1])
def test_overlapped_rounds_lag_by_one(steps_per_update):
    """The same as a plain loop that makes each round's updates at once but tells nobody before the next is due."""
    agent, twin = (make_agent(overlap=True, steps_per_update=steps_per_update) for _ in range(2))
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    step = twin_step = stream.step()[0]
    other, waiting, rounds, drawn = copy.deepcopy(stream), [], 0, 0
    for _ in range(80):
        agent.act(step)
        step, _, _ = stream.step()
        agent.observe(step)
        agent.learn()
        twin.act(twin_step)
        twin_step, _, _ = other.step()
        twin.observe(twin_step)
        due = int(twin._unlearned / twin.steps_per_update)
        if due:
            twin._unlearned -= due * twin.steps_per_update
            for sequence, update in waiting:
                twin.replay.update_priorities(sequence, update.priority)
            twin.actor.network.load_state_dict(twin.learner.network.state_dict())
            batches = [twin.replay.sample(4, np.random.default_rng((0, drawn + k))) for k in range(due)]
            waiting = [(batch.sequence, twin.learner.update(batch)) for batch in batches]
            assert agent.updates == drawn  # of the rounds before this one
            drawn += due
            rounds += 1
        assert torch.equal(weights(agent.actor.network), weights(twin.actor.network))
        assert agent.replay.summary() == twin.replay.summary()
    assert rounds > 15
    assert (drawn > rounds) == (steps_per_update == 1)  # several updates a round
    assert torch.equal(weights(agent.encoder), weights(twin.learner.network.encoder))  # waits for the last round
    assert not torch.equal(weights(agent.learner.network), weights(agent.actor.network))


def test_failure_of_an_overlapped_round_is_raised():
    agent = make_agent(overlap=True)
    agent.learner.update = None
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    with pytest.raises(TypeError, match="not callable"):
        run(agent, stream, stream.step()[0], 80)


def test_the_guard_tells_of_all_updates_that_have_begun():
    agent = make_agent(overlap=True)
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    step, _ = run(agent, stream, stream.step()[0], 60)
    begun, ended = [], []
    draw, update = agent._draw, agent.learner.update
    agent._draw = lambda number: begun.append(number) or draw(number)

    def slowly(*batch):
        time.sleep(0.3)
        ended.append(update(*batch))
        return ended[-1]

    agent.learner.update = slowly
    while not begun:
        step, _ = run(agent, stream, step, 1)
    assert agent.guard is agent.learner.guard
    assert len(ended) == len(begun)


@pytest.mark.parametrize("overlap", [True, False])
def test_networks_must_suit_the_overlap(overlap):
    agent = make_agent(overlap=overlap)
    with pytest.raises(ValueError, match="network"):
        R2D2(agent.actor, agent.learner, agent.replay, overlap=not overlap)


def test_auxiliary_frames_from_the_replay():
    agent = make_agent(auxiliary={"batch_size": 50, "every": 3}, replayed_frames=True)
    agent.learner.separate_episodes = True
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    shown = {}
    step = stream.step()[0]
    for _ in range(60):
        agent.act(step)
        for env, image in enumerate(step.observation):  # some look alike
            shown.setdefault(image.tobytes(), set()).add(env)
        step = stream.step()[0]
        agent.observe(step)
        agent.learn()
    seen = agent.learner.auxiliary.objective.seen
    assert len(seen) == -(-agent.updates // 3) > 3
    for frames, groups in seen:
        assert {frame.numpy().tobytes() for frame in frames} <= shown.keys()
        # A group is an episode: environment and first row.
        assert all(g % 3 in shown[f.numpy().tobytes()] for g, f in zip(groups.tolist(), frames, strict=True))
    assert len({frame.numpy().tobytes() for frame in seen[-1][0]}) > 30


def test_priorities_of_a_lost_replay_are_not_given_to_the_next():
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    one = make_agent(overlap=True)
    run(one, stream, stream.step()[0], 60)
    state = to_plain(one.state_dict())
    assert any(learned[1] is not None for learned in state["waiting"])
    two = make_agent(overlap=True)
    two.load_state_dict(state)
    given = []
    two.replay.update_priorities = lambda *update: given.append(two.updates)
    stream = Stream(make_geometry(LAYOUT), seed=1, mean_length=10)  # games start anew
    run(two, stream, stream.step()[0], 60)
    assert given
    assert min(given) > one.updates + len(state["waiting"])


@pytest.mark.parametrize("overlap", [True, False])
def test_agent_continues_from_its_state(tmp_path, overlap):
    stream = Stream(make_geometry(LAYOUT), seed=0, mean_length=10)
    one = make_agent(overlap=overlap)
    step, _ = run(one, stream, stream.step()[0], 60)
    state = to_plain(one.state_dict())
    one.replay.save(tmp_path / "replay")
    two = make_agent(overlap=overlap)
    two.replay = SequenceReplay.load(tmp_path / "replay", one.replay.geometry, mapped=False)
    two.load_state_dict(copy.deepcopy(state))
    other = copy.deepcopy(stream)
    run(one, stream, step, 30)
    run(two, other, step, 30)
    assert torch.equal(weights(one.encoder), weights(two.encoder))
    assert one.updates == two.updates > 10
    assert one.replay.summary() == two.replay.summary()
    for p, q in zip(one.learner.network.parameters(), two.learner.network.parameters(), strict=True):
        assert torch.equal(p, q)
