"""Two processes with half of everything each make the updates of one with all of it."""

import copy
import os
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from naive_replay import Stream
from ppo_fakes import MIXED, Game, ScriptedEnv, SpyObjective, generators, make_network, make_ppo, train
from ppo_fakes import make_auxiliary as make_ppo_auxiliary
from r2d2_helpers import LAYOUTS, STATE, make_auxiliary, make_geometry, make_learner, make_replay, sample
from r2d2_helpers import make_network as make_recurrent_network

from agents.parallel import join_state, split_state
from agents.ppo_parallel import Minibatch
from agents.r2d2 import R2D2
from agents.r2d2_actor import RecurrentActor
from agents.replay import Observations, ReplayGeometry, SequenceReplay
from relic_rl.representation.critic import Critic
from relic_rl.representation.objectives import RelicObjective
from relic_rl.runtime import distributed
from relic_rl.runtime.distributed import Processes, gather_numbers

WORLD = 2
LAYOUT = LAYOUTS["paper's proportions"]
ENDLESS = [[Game(100)]] * 4
ONE = Processes()


def tensors(*modules):
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


# --------------------------------------------------------------- what one process does, and each of two

PPO_CASES = {
    "plain": {"num_minibatches": 1},
    "minibatches": {"num_minibatches": 3},
    "relic": {"num_minibatches": 1, "games": ENDLESS},
    "relic within a process": {"num_minibatches": 1, "games": ENDLESS},
    "head at every other update": {"num_minibatches": 1},
    "not a number": {"num_minibatches": 3},
    "infinite": {"num_minibatches": 3},
}


def run_ppo(case, processes):
    """Two iterations; process 1 begins with other weights, and must not keep them."""
    options = dict(PPO_CASES[case])
    games = options.pop("games", MIXED)
    own = processes.share(len(games))
    network = make_network(seed=processes.rank)
    streams = generators() | {"minibatch": torch.Generator().manual_seed(50 + processes.rank)}
    auxiliary = None
    if case.startswith("relic"):
        torch.manual_seed(4 + processes.rank)
        objective = RelicObjective(network.encoder, Critic(8, 8, 4), target_decay=0.9)
        objective.gathered = case == "relic"
        # All frames of the rollout: their order does not matter then.
        auxiliary = make_ppo_auxiliary(objective, batch_size=48 // processes.world_size)
    elif case not in {"plain", "minibatches"}:
        bad = [1] if processes.rank == 1 else []
        spy = SpyObjective(nan_at=bad if case == "not a number" else [], infinite_at=bad if case == "infinite" else [])
        auxiliary = make_ppo_auxiliary(spy, every=2 if case.startswith("head") else 1)
    agent = make_ppo(
        network=network,
        num_envs=own.stop - own.start,
        generators=streams,
        auxiliary=auxiliary,
        processes=processes,
        separate_envs=case.startswith("relic"),
        **options,
    )
    agent.join()
    env = ScriptedEnv(games[own], first=own.start)
    _, history = train(agent, env, env.reset(), 2)
    agent.release()
    parts = [network] if auxiliary is None else [network, auxiliary.objective]
    return {
        "weights": tensors(*parts),
        "metrics": history,
        "steps": agent.steps,
        "skipped": agent.guard.skipped,
        "views": [len(views[0]) for views in auxiliary.objective.views] if hasattr(parts[-1], "views") else [],
        "moments": [int(state["step"]) for state in agent.learner.optimizer.state.values()],
    }


def part_of(batch, rows):
    """Some sequences of a batch."""
    first = {"begin", "episode", "weight", "sequence"}
    return type(batch)(*(f[rows] if n in first else f[:, rows] for n, f in batch._asdict().items()))


LEARNERS = ["learner", "learner with relic"]


def run_learner(case, processes):
    """Three updates, each process on its half of the same batches, and of the same frames for RELIC."""
    network = make_recurrent_network(seed=processes.rank)
    torch.manual_seed(4 + processes.rank)
    objective = RelicObjective(network.encoder, Critic(network.encoder.feature_dim, 8, 4), target_decay=0.9)
    auxiliary = make_ppo_auxiliary(objective) if case == "learner with relic" else None
    learner = make_learner(network, LAYOUT, target_period=2, auxiliary=auxiliary)
    learner.join(processes, [])
    replay = make_replay(LAYOUT)
    own = processes.share(16)
    updates = []
    for seed in range(3):
        frames = replay.sample_observations(16, np.random.default_rng(seed))
        given = Observations(*(field[own] for field in frames)) if auxiliary else None
        updates.append(learner.update(part_of(sample(replay, 16, seed), own), given))
    learner.release()
    return {
        "weights": tensors(*learner.modules, learner.target),
        "contrast": [float(update.metrics.get("aux/contrastive", 0.0)) for update in updates],
        "priority": [update.priority for update in updates],
        "loss": [float(update.metrics["loss/td"]) for update in updates],
        "gradient_norm": [float(update.metrics["gradient_norm"]) for update in updates],
    }


def run_r2d2(processes, overlap):
    """A whole agent on made-up games; its shard's games are its own."""
    network = make_recurrent_network(seed=processes.rank)
    geometry = make_geometry(LAYOUT)
    agent = R2D2(
        RecurrentActor(
            copy.deepcopy(network) if overlap else network,
            torch.full((3,), 0.5),
            torch.Generator().manual_seed(0),
            processes=processes,
        ),
        make_learner(network, LAYOUT, target_period=5, auxiliary=make_auxiliary(network, every=2)),
        SequenceReplay(geometry, gather=lambda own: gather_numbers(torch.from_numpy(own)).numpy()),
        batch_size=4,
        steps_per_update=13,
        learning_starts=120,
        overlap=overlap,
        processes=processes,
    )
    agent.learner.auxiliary_spacing = 3
    agent.learner.separate_episodes = True
    agent.join()
    stream = Stream(geometry, seed=processes.rank, mean_length=15)
    step, _, _ = stream.step()
    updates, boundaries, actions = [], [], []
    for _ in range(70):
        actions.append(agent.act(step).tolist())
        step, _, _ = stream.step()
        agent.observe(step)
        agent.learn()
        updates.append(agent.updates)
        boundaries.append(agent.at_boundary)
    agent.release()
    return {
        "weights": tensors(*agent.modules),
        "updates": updates,
        "boundaries": boundaries,
        "steps": agent.steps,
        "actions": actions,
        "groups": {int(group) for _, groups in agent.learner.auxiliary.objective.seen for group in groups},
        "largest": float(agent.replay._sampler._largest[0]),
        "total": agent.replay.summary().priority,
    }


def worker(rank, folder, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with distributed.process_group(Processes(rank, WORLD, rank, WORLD), torch.device("cpu")):
        torch.save(together(Processes(rank, WORLD, rank, WORLD)), f"{folder}/{rank}.pt")


def together(processes):
    results = {case: run_ppo(case, processes) for case in PPO_CASES}
    results |= {case: run_learner(case, processes) for case in LEARNERS}
    results["r2d2"] = run_r2d2(processes, overlap=False)
    results["r2d2 overlapping"] = run_r2d2(processes, overlap=True)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What both processes computed, by rank."""
    folder = tmp_path_factory.mktemp("parallel")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    mp.spawn(worker, args=(str(folder), port), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


# ------------------------------------------------------------------------------------------------- PPO


@pytest.mark.parametrize("case", ["plain", "relic"])
def test_ppo_of_two_processes_is_that_of_one(case, results):
    """Games of the two halves differ in their number of invented steps; advantages are those of all rows."""
    one = run_ppo(case, ONE)
    for found in results:
        assert found[case]["steps"] == one["steps"]
        torch.testing.assert_close(found[case]["weights"], one["weights"], rtol=1e-4, atol=1e-5)
        for two, alone in zip(found[case]["metrics"], one["metrics"], strict=True):
            assert set(two) == set(alone)
            for name, value in alone.items():
                assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_minibatches_of_two_processes_are_those_of_one_that_draws_as_they_do(results, monkeypatch):
    """Which transitions share a minibatch is all that parts them: each process permutes its own."""
    streams = [torch.Generator().manual_seed(50 + rank) for rank in range(WORLD)]

    def split(order, advantage, num_minibatches, counts, processes):
        env = order % len(MIXED)  # rows are in the order of time, then of environments
        parts = []
        for rank, stream in enumerate(streams):
            own = Processes(rank, WORLD).share(len(MIXED))
            rows = order[(env >= own.start) & (env < own.stop)].sort().values
            parts.append(rows[torch.randperm(len(rows), generator=stream)].tensor_split(num_minibatches))
        return [Minibatch(torch.cat(both), 1.0, 0, None) for both in zip(*parts, strict=True)]

    monkeypatch.setattr("agents.ppo_learner.split_minibatches", split)
    one = run_ppo("minibatches", ONE)
    for found in results:
        torch.testing.assert_close(found["minibatches"]["weights"], one["weights"], rtol=1e-4, atol=1e-5)


def test_a_contrast_set_of_its_own_is_another_loss(results):
    local, gathered = (results[0][case] for case in ("relic within a process", "relic"))
    assert local["metrics"][0]["aux/contrastive"] < gathered["metrics"][0]["aux/contrastive"] - 0.3  # fewer candidates
    assert not torch.allclose(local["weights"], gathered["weights"], atol=1e-4)


@pytest.mark.parametrize("case", PPO_CASES)
def test_processes_stay_alike(case, results):
    first, second = (found[case] for found in results)
    assert torch.equal(first["weights"], second["weights"])
    assert repr(first["metrics"]) == repr(second["metrics"])  # not-a-numbers too
    assert first["views"] == second["views"]  # equally many frames, although rows differ
    assert first["moments"] == second["moments"]


def test_what_an_update_leaves_out_is_left_alone(results):
    """Adam must not take steps on a head without gradient, as it would on a gradient of zeros."""
    case = "head at every other update"
    assert results[0][case]["moments"] == run_ppo(case, ONE)["moments"]
    assert len(set(results[0][case]["moments"])) == 2


@pytest.mark.parametrize("case", ["not a number", "infinite"])
def test_a_loss_that_is_not_finite_anywhere_is_skipped_everywhere(case, results):
    assert [found[case]["skipped"] for found in results] == [1, 1]
    assert results[0][case]["weights"].isfinite().all()


# ------------------------------------------------------------------------------------------------ R2D2


@pytest.mark.parametrize("case", LEARNERS)
def test_r2d2_learner_of_two_processes_is_that_of_one(case, results):
    one = run_learner(case, ONE)
    both = [found[case] for found in results]
    assert (min(one["contrast"]) > 0) == (case == "learner with relic")
    assert torch.equal(both[0]["weights"], both[1]["weights"])
    torch.testing.assert_close(both[0]["weights"], one["weights"], rtol=1e-4, atol=1e-6)
    assert both[0]["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
    for update in range(3):
        for name in ("loss", "contrast"):
            assert np.mean([found[name][update] for found in both]) == pytest.approx(one[name][update], rel=1e-4), name
        together = torch.cat([found["priority"][update] for found in both])
        torch.testing.assert_close(together, one["priority"][update], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["r2d2", "r2d2 overlapping"])
def test_r2d2_counts_over_all_processes(case, results):
    first, second = (found[case] for found in results)
    assert first["updates"] == second["updates"]
    assert first["steps"] == second["steps"] > 350
    assert first["boundaries"] == [t % 2 == 1 for t in range(70)]  # 13 steps an update, 6 environments
    done = first["updates"][-1]
    learned = first["steps"] - 120  # about: it begins where the replays hold 120 observations
    assert learned / 13 - 3 <= done <= learned / 13 + 2
    assert torch.equal(first["weights"], second["weights"])
    assert first["largest"] == second["largest"]  # a new sequence enters every shard with the same priority
    assert first["total"] != second["total"]
    assert first["actions"] != second["actions"]
    assert first["groups"]
    assert not first["groups"] & second["groups"]  # no two episodes with one number


def test_actors_of_two_processes_explore_as_one():
    network = make_recurrent_network()
    stream = Stream(ReplayGeometry(4, (2, 8, 8), 800, 2, STATE, LAYOUT), seed=0, mean_length=9)
    steps = [stream.step()[0] for _ in range(12)]

    def act(processes):
        own = processes.share(4)
        epsilon = torch.linspace(0.2, 0.9, 4)[own]
        actor = RecurrentActor(network, epsilon, torch.Generator().manual_seed(1), processes=processes)
        return [actor.act(type(step)(*(field[own] for field in step))).action for step in steps]

    halves = [act(Processes(rank, 2)) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), act(ONE))


# ----------------------------------------------------------------------------------------------- states


def test_states_are_taken_apart_and_joined():
    state = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": 4}
    rest, own = split_state(state, ("f", "b.c", "b.d.e", "b.x", "y", "z.u"))
    assert rest == {"a": 1, "b": {"d": {}}}
    assert own["f"] == 4
    assert own["b"]["c"] == 2
    assert join_state(rest, own) == state
    assert state == {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": 4}
