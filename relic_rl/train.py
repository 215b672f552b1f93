"""The door to reinforcement learning: ``python -m relic_rl.train --env ALE/Pong-v5``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relic_rl.runtime.config import parse_config
from relic_rl.runtime.errors import run_door
from relic_rl.train_options import TrainConfig

if TYPE_CHECKING:
    from agents.ppo import PPO
    from envs.types import VectorEnv


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, evaluate; the exit code."""
    return run_door(lambda: train(parse_config(TrainConfig, argv, kind="train", default_preset=default_preset)))


def default_preset(config: TrainConfig) -> str:
    """The preset of a command without --config: sized for the machine it runs on."""
    from relic_rl.runtime.device import resolve_device

    return f"{config.agent}-{'gpu' if resolve_device(config.device).type == 'cuda' else 'small'}"
