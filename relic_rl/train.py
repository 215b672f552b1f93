"""The door to reinforcement learning: ``python -m relic_rl.train --env ALE/Pong-v5``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from relic_rl.runtime.config import parse_config
from relic_rl.runtime.errors import run_door
from relic_rl.runtime.resume import resolve_resume
from relic_rl.train_options import CONTRASTIVE, TrainConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, evaluate.

    Returns:
        0 done, 1 failed while running, 2 bad input, 130 interrupted, 143 terminated (the last two after saving).
    """
    return run_door(lambda: _train(argv))


def _train(argv: Sequence[str] | None) -> int:
    config = without_idle_objective(parse_config(TrainConfig, argv, kind="train", default_preset=base_options))
    from relic_rl.training import train  # noqa: PLC0415 (late: torch and the engines take seconds, --help needs none)

    return train(config)


def without_idle_objective(config: TrainConfig) -> TrainConfig:
    """The options without an auxiliary objective where the encoder that it would shape is frozen."""
    idle = config.freeze_encoder and config.objective in CONTRASTIVE
    return dataclasses.replace(config, objective="none") if idle else config


def base_options(config: TrainConfig) -> str:
    """Where the options of a command without --config come from.

    A resumed run's own, else a preset for the agent, sized for the machine.
    """
    resume = resolve_resume(config.resume, config.run_dir)
    if resume is not None and resume.config_file is not None:
        return str(resume.config_file)
    from relic_rl.runtime.device import resolve_device  # noqa: PLC0415 (imports torch, which --help must not)

    return f"{config.agent}-{'gpu' if resolve_device(config.device).type == 'cuda' else 'small'}"


if __name__ == "__main__":
    sys.exit(main())
