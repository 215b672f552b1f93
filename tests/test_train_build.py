"""What ``auto`` comes to, and how CPU threads are divided."""

import dataclasses
from pathlib import Path

import pytest
import torch

from agents.ppo import PPO
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.distributed import Processes
from relic_rl.runtime.seeding import Streams
from relic_rl.train_build import build_agent, build_env, build_networks, decided, learner_threads
from relic_rl.train_options import TrainConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("agent", "device", "threads", "processes", "overlap"),
    [
        ("ppo", CPU, 2, 1, "on"),
        ("ppo", CPU, 1, 1, "off"),
        ("ppo", CUDA, 1, 1, "on"),
        ("ppo", CPU, 2, 2, "off"),
        ("ppo", CUDA, 2, 2, "off"),
        ("r2d2", CUDA, 1, 2, "on"),
        ("r2d2", CPU, 2, 1, "off"),
        ("r2d2", CPU, 1, 1, "off"),
    ],
)
def test_overlap_where_each_has_its_own(
    agent: str, device: torch.device, threads: int, processes: int, overlap: str
) -> None:
    config = decided(TrainConfig(agent=agent, anneal_epochs=True), "bf16", device, threads, processes)
    assert (config.precision, config.overlap) == ("bf16", overlap)
    for asked in ("on", "off"):
        assert decided(dataclasses.replace(config, overlap=asked), "fp32", device, threads).overlap == asked


@pytest.mark.parametrize(
    ("num_epochs", "anneal_epochs", "overlap_epochs", "overlap"),
    [(2, False, 1, "off"), (2, False, 2, "on"), (2, True, 1, "on"), (1, False, 1, "on")],
)
def test_ppo_overlaps_where_some_rollout_has_few_enough_passes(
    num_epochs: int, anneal_epochs: bool, overlap_epochs: int, overlap: str
) -> None:
    config = TrainConfig(num_epochs=num_epochs, anneal_epochs=anneal_epochs, overlap_epochs=overlap_epochs)
    assert decided(config, "fp32", CPU, 2).overlap == overlap
    problems = dataclasses.replace(config, overlap="on", aux_batch_size=2).problems()
    assert [problem.split(" on rollouts")[0] for problem in problems] == (
        ["--overlap on with --overlap-epochs 1 has no effect"] if overlap == "off" else []
    )


@pytest.mark.parametrize(("agent", "threads", "left"), [("r2d2", 4, 3), ("ppo", 4, 2), ("r2d2", 1, 1), ("ppo", 1, 1)])
def test_acting_has_one_thread_and_learning_half_or_the_others(agent: str, threads: int, left: int) -> None:
    torch.set_num_threads(threads)
    assert learner_threads(TrainConfig(overlap="off"), CPU) is None
    assert learner_threads(TrainConfig(overlap="on"), CUDA) is None
    assert torch.get_num_threads() == threads
    assert learner_threads(TrainConfig(agent=agent, overlap="on"), CPU) == left
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("overlap", "beside_acting"), [("on", True), ("off", False)])
def test_ppo_learns_beside_acting_where_it_is_told_to(overlap: str, beside_acting: bool, tmp_path: Path) -> None:
    options = ["--env", "relic/Catch-v0", "--num-envs", "2", "--objective", "none", "--overlap", overlap]
    if beside_acting:
        options += ["--overlap-epochs", "3", "--num-epochs", "2"]
    config, streams = parse_config(TrainConfig, options, kind="train"), Streams(0)
    env = build_env(config, "train_env", config.num_envs, streams, 1)
    networks = build_networks(config, env, streams, CPU)
    agent = build_agent(config, env, networks, streams, CPU, None, tmp_path, Processes(), resumed=False)
    assert isinstance(agent, PPO)
    assert agent.learner.beside_acting == beside_acting
    assert agent.most_passes_beside == (3 if beside_acting else 1)
