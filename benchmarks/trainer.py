"""An agent with its environments, as ``relic_rl.train`` builds them, advanced step by step by a benchmark."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from agents.agent import Agent
from envs.types import EnvStep, VectorEnv
from relic_rl import train_build as build
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.device import resolve_device, set_threads
from relic_rl.runtime.distributed import Processes
from relic_rl.runtime.memory import keep_freed_memory
from relic_rl.runtime.precision import decide_precision, encoder_step
from relic_rl.runtime.profile import section
from relic_rl.runtime.seeding import Streams
from relic_rl.train import base_options
from relic_rl.train_options import TrainConfig


def options(*arguments: str) -> TrainConfig:
    """The options of ``python -m relic_rl.train ARGUMENTS``."""
    return parse_config(TrainConfig, list(arguments), kind="train", default_preset=base_options)


THREADS = torch.get_num_threads()  # before any agent divides them between acting and learning


class Trainer:
    """Trains, until told otherwise.

    Attributes:
        precision: what ``--precision`` came to.
    """

    def __init__(self, config: TrainConfig) -> None:
        device = resolve_device(config.device)
        threads = set_threads(config.threads or THREADS)
        streams = Streams(config.seed)
        self.config = config
        self.env: VectorEnv = build.build_env(config, "train_env", config.num_envs, streams, threads)
        networks = build.build_networks(config, self.env, streams, device)
        time_step = encoder_step(networks.network.encoder, self.env.observation_shape, device)
        decision = decide_precision(config.precision, time_step, min(config.frames_per_update, 512), device)
        self.precision = decision.precision
        config = build.decided(config, decision.precision, device, threads)
        self._directory = tempfile.TemporaryDirectory()
        self.agent: Agent = build.build_agent(
            config,
            self.env,
            networks,
            streams,
            device,
            decision.autocast_dtype,
            Path(self._directory.name),
            Processes(),
            resumed=False,
        )
        keep_freed_memory()
        self.last: EnvStep = self.env.reset()

    def step(self) -> bool:
        """One vector step, and the updates that are then due; whether there were any."""
        action = self.agent.act(self.last)
        with section("environment"):
            self.last = self.env.step(action)
        self.agent.observe(self.last)
        return self.agent.learn() is not None

    def iterate(self, updates: int = 1, *, finish: bool = True) -> tuple[float, int]:
        """Seconds and agent steps until so many more updates, at least, have been made; or begun, unless ``finish``."""
        start, steps, goal = time.perf_counter(), self.agent.steps, self.agent.updates + updates
        while self.agent.updates < goal:
            self.step()
        if finish:
            _ = self.agent.encoder  # waits
        return time.perf_counter() - start, self.agent.steps - steps

    def close(self) -> None:
        """Free the engine."""
        self.env.close()
