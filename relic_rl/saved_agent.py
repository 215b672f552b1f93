"""An agent as a run of ``relic_rl.train`` left it, ready to play."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.networks import ActorCritic
from agents.policies import recurrent_policy, sampling_policy
from agents.ppo import PPO
from agents.r2d2 import R2D2
from envs.types import VectorEnv
from relic_rl import train_build
from relic_rl.evaluation.play import Policy
from relic_rl.runtime.checkpoint import Loaded, load_checkpoint, load_latest
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.resume import CHECKPOINTS
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.tensor_hash import hash_tensors
from relic_rl.train_options import TrainConfig

_AGENTS: dict[str, type[PPO] | type[R2D2]] = {"ppo": PPO, "r2d2": R2D2}


@dataclass(frozen=True)
class SavedAgent:
    """What a run's checkpoint holds of its agent, without what only learning needs.

    Attributes:
        run: the run's directory.
        options: those it was trained with.
        checkpoint: the file.
        steps: agent steps it had been trained for.
        weights: of the online network, on the CPU.
        notes: for the user: newer checkpoints that are damaged.
    """

    run: Path
    options: TrainConfig
    checkpoint: Path
    steps: int
    weights: Mapping[str, Tensor]
    notes: tuple[str, ...]

    @property
    def rule(self) -> str:
        """How `policy` chooses actions, for records."""
        return _AGENTS[self.options.agent].evaluation_rule

    @property
    def content_hash(self) -> str:
        """SHA-256 over the weights, as text: equal exactly where they are."""
        return hash_tensors(self.weights, self.options.agent)

    def policy(
        self,
        env: VectorEnv,
        generator: torch.Generator,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
    ) -> Policy:
        """The agent on these environments, acting as in its evaluation.

        Args:
            env: what it is to play; its images and actions must be those of the run's.
            generator: stream of randomness on the device.
            device: where it computes.
            autocast_dtype: of autocast; None for fp32.

        Raises:
            BadInput: the checkpoint does not fit the run's options, or the environment.
        """
        # Neither an objective nor weights to start from: the file they came from may be gone.
        options = dataclasses.replace(self.options, objective="none", encoder_weights=None, freeze_encoder=False)
        network = train_build.build_networks(options, env, Streams(options.seed), device).network
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            raise BadInput(
                f"checkpoint {self.checkpoint} does not fit {self.run / 'config.yaml'} or {self.options.env}"
            ) from error
        network.eval()
        if isinstance(network, ActorCritic):
            enabled = autocast_dtype is not None
            return sampling_policy(
                network, generator, lambda: torch.autocast(device.type, dtype=autocast_dtype, enabled=enabled)
            )
        return recurrent_policy(network, generator, env.num_envs, autocast_dtype)


def open_agent(run: Path, checkpoint: str | None = None, *, flag: str = "--run") -> SavedAgent:
    """Read a run's options and a checkpoint; the run may still be going on.

    Args:
        run: the run's directory.
        checkpoint: a file, or the name of one among the run's checkpoints; None for the newest sound one.
        flag: the option that named the run, for messages.

    Raises:
        BadInput: no such run, or a checkpoint that cannot be used.
    """
    try:
        found = (run / "config.yaml").is_file()
    except OSError as error:  # such as a name that is too long
        raise BadInput(f"{flag} {run}: {error.strerror}") from error
    if not found:
        raise BadInput(f"{flag} {run}: no run directory of train (it would hold config.yaml)")
    options = run_options(run)
    folder = run / CHECKPOINTS
    if checkpoint is None:
        loaded = load_latest(folder)
        if loaded is None:
            raise BadInput(f"{flag} {run}: no checkpoint in {folder} yet")
    else:
        of_run = checkpoint in {path.name for path in folder.glob("*.ckpt")}
        path = folder / checkpoint if of_run else Path(checkpoint)
        loaded = Loaded(load_checkpoint(path), path, [])
    return _saved(run, options, loaded)


def run_options(run: Path) -> TrainConfig:
    """The options of a run.

    Raises:
        BadInput: its config.yaml is not of ``train``, or damaged.
    """
    return parse_config(TrainConfig, ["--config", str(run / "config.yaml")], kind="train")


def _saved(run: Path, options: TrainConfig, loaded: Loaded) -> SavedAgent:
    misfit = BadInput(f"checkpoint {loaded.path} is not of a run with the options of {run / 'config.yaml'}")
    made_with = loaded.state.get("options")
    known: Any = made_with if isinstance(made_with, dict) else {}
    if any(known.get(name) != getattr(options, name) for name in ("env", "agent", "encoder")):
        raise misfit
    try:
        agent = loaded.state["agent"]
        weights = (agent if options.agent == "ppo" else agent["learner"])["network"]
        steps = int(agent["steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise misfit from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise misfit
    return SavedAgent(run, options, loaded.path, steps, weights, tuple(loaded.notes))
