"""Agents as their runs left them: which checkpoint, whether it fits, and that it acts as the run's own."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.make import make_vector_env
from relic_rl.evaluation.play import play_games
from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from relic_rl.runtime.errors import BadInput
from relic_rl.saved_agent import open_agent
from relic_rl.train import main as train

CPU = torch.device("cpu")
SMALL = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "4"]
SMALL += ["--eval-episodes", "0", "--num-steps", "16", "--total-steps", "128"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("agents") / "run"
    assert train([*SMALL, "--objective", "relic", "--aux-batch-size", "8", "--run-dir", str(run)]) == 0
    return run


@pytest.fixture
def run(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[0]


def act(agent, seed=0, env_id="relic/Catch-v0"):
    env = make_vector_env(env_id, 3, seed=1)
    return play_games(env, agent.policy(env, torch.Generator().manual_seed(seed), CPU), 6).returns


def test_the_newest_sound_checkpoint_is_taken(run):
    agent = open_agent(run)
    steps = json.loads((run / "result.json").read_text())["agent_steps"]
    assert (agent.checkpoint, agent.steps, agent.notes) == (newest(run), steps, ())
    assert agent.options.objective == "relic"
    assert agent.rule == "actions sampled from the policy"
    later = save_checkpoint(run / "checkpoints", 500, {"a": 1})
    later.write_bytes(later.read_bytes()[:-1])
    again = open_agent(run)
    assert again.checkpoint == agent.checkpoint
    assert len(again.notes) == 1
    assert "step-000000000500.ckpt is incomplete" in again.notes[0]


def test_a_checkpoint_is_named_by_its_path_or_among_the_run_s(run, tmp_path, monkeypatch):
    first = open_agent(run)
    state = load_checkpoint(newest(run))
    for name, value in state["agent"]["network"].items():
        state["agent"]["network"][name] = torch.zeros_like(value)
    state["agent"]["steps"] = 7
    other = save_checkpoint(tmp_path / "elsewhere", 7, state)
    zeros = open_agent(run, str(other))
    assert (zeros.steps, zeros.checkpoint) == (7, other)
    assert zeros.content_hash != first.content_hash
    shutil.copy(other, run / "checkpoints" / "best.ckpt")
    monkeypatch.chdir(tmp_path)
    assert open_agent(run, "best.ckpt").content_hash == zeros.content_hash
    assert open_agent(run).content_hash == first.content_hash


def test_nothing_but_the_checkpoint_is_needed(made, run, tmp_path):
    """Neither the file of weights that the run began with, nor an objective."""
    weights = Path(shutil.copy(made / "encoder.safetensors", tmp_path / "start.safetensors"))
    begun = tmp_path / "begun"
    assert train([*SMALL, "--objective", "none", "--encoder-weights", str(weights), "--run-dir", str(begun)]) == 0
    weights.unlink()
    assert len(act(open_agent(begun))) == 6


def test_the_network_is_that_of_the_run_to_the_bit(run):
    agent = open_agent(run)
    env = make_vector_env("relic/Catch-v0", 3, seed=1)
    policy = agent.policy(env, torch.Generator(), CPU)
    trained = load_checkpoint(newest(run))["agent"]["network"]
    assert agent.weights.keys() == trained.keys()
    assert all(torch.equal(agent.weights[name], trained[name]) for name in trained)
    assert policy(env.reset()).shape == (3,)


def damaged(state, kind):
    match kind:
        case "another environment":
            state["options"]["env"] = "relic/Recall-v0"
        case "another encoder":
            state["options"]["encoder"] = "impala"
        case "no options":
            del state["options"]
        case "no agent":
            del state["agent"]
        case "an agent that is a number":
            state["agent"] = 3
        case "weights that are no tensors":
            state["agent"]["network"] = {"w": 1.0}
        case "no steps":
            state["agent"]["steps"] = None
    return state


KINDS = ["another environment", "another encoder", "no options", "no agent", "an agent that is a number"]
KINDS += ["weights that are no tensors", "no steps"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_something_else_is_refused(run, tmp_path, kind):
    other = save_checkpoint(tmp_path / "other", 1, damaged(load_checkpoint(newest(run)), kind))
    with pytest.raises(BadInput, match=r"is not of a run with the options of .*config\.yaml"):
        open_agent(run, str(other))


def test_weights_that_do_not_fit_are_refused(run):
    agent = open_agent(run)
    env = make_vector_env("relic/Counting-v0", 3, seed=1)  # four actions, not three
    with pytest.raises(BadInput, match="does not fit"):
        agent.policy(env, torch.Generator(), CPU)
    some = dict(list(agent.weights.items())[1:])
    with pytest.raises(BadInput, match="does not fit"):
        act(dataclasses.replace(agent, weights=some))


def test_no_run(tmp_path):
    with pytest.raises(BadInput, match="no run directory"):
        open_agent(tmp_path, flag="--agent")
    (tmp_path / "config.yaml").write_text("games: [Pong]\n")
    with pytest.raises(BadInput):
        open_agent(tmp_path)


def test_an_agent_with_memory_forgets_where_a_game_begins(tmp_path):
    run = tmp_path / "run"
    small = [option for option in SMALL if option not in ("--num-steps", "16")]
    assert train([*small, "--agent", "r2d2", "--objective", "none", "--run-dir", str(run)]) == 0
    agent = open_agent(run)
    assert "epsilon" in agent.rule
    env = make_vector_env("relic/Catch-v0", 3, seed=1)
    policy = agent.policy(env, torch.Generator().manual_seed(0), CPU)
    first = env.reset()
    actions = [policy(first)] + [policy(first._replace(invented=np.zeros(3, dtype=bool))) for _ in range(3)]
    assert np.array_equal(policy(first), actions[0])
    assert agent.content_hash == open_agent(run).content_hash
