"""What a resumed run must share with the one that it continues."""

from __future__ import annotations

import dataclasses
from typing import Any

from relic_rl.runtime.checkpoint import Loaded
from relic_rl.runtime.errors import BadInput, join_problems
from relic_rl.train_options import TrainConfig

# What the saved state depends on: sizes, streams of random numbers, the games themselves.
FIXED = (
    "env",
    "protocol",
    "agent",
    "objective",
    "encoder",
    "seed",
    "num_envs",
    "lstm_size",
    "critic_layers",
    "hidden_dim",
    "projection_dim",
    "learnable_temperature",
    "target",
)


DECIDED = {"precision": ("fp32", "bf16"), "overlap": ("on", "off")}
"""What ``auto`` may have come to, by option."""


def resumable_options(config: TrainConfig) -> dict[str, Any]:
    """The options that a checkpoint keeps: those that stay as they are, and what ``auto`` has come to."""
    return {name: getattr(config, name) for name in (*FIXED, *DECIDED)}


def continue_options(config: TrainConfig, loaded: Loaded) -> TrainConfig:
    """The options with which to continue a checkpoint: ``auto`` takes the decision it was made with.

    Raises:
        BadInput: the checkpoint was made with others, or by another version of this program.
    """
    made_with = loaded.state.get("options")
    if not isinstance(made_with, dict) or set(made_with) != {*FIXED, *DECIDED}:
        raise BadInput(f"checkpoint {loaded.path} was made by another version of relic_rl: resume it with that one")
    # R2D2's round under way is part of the state; PPO goes on from one with or without overlap.
    overlap = ("overlap",) if config.agent == "r2d2" else ()
    decided = {
        name: made_with[name]
        for name in ("precision", *overlap)
        if getattr(config, name) == "auto" and made_with[name] in DECIDED[name]
    }
    config = dataclasses.replace(config, **decided)
    fixed = (*FIXED, *overlap)
    problems = [
        f"--{name.replace('_', '-')} is {getattr(config, name)}, the checkpoint was made with {made_with[name]}"
        for name in fixed
        if getattr(config, name) != made_with[name]
    ]
    if problems:
        remedy = "keep these options, or start anew from its encoder.safetensors with --encoder-weights"
        raise BadInput(join_problems([*problems, remedy]))
    return config
