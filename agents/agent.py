"""What every agent is to the code that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.guard import GradientGuard


class Agent(Protocol):
    """Call ``act`` with every step the environments return, ``observe`` with what followed, then ``learn``."""

    steps: int  # agent steps: decisions, summed over environments; of several processes, over all, at a boundary
    evaluation_rule: str  # how ``policy`` chooses actions, for records
    own_state: tuple[str, ...]  # entries of ``state_dict`` that are this process's own (`agents.parallel.split_state`)

    @property
    def updates(self) -> int:
        """Optimiser steps so far."""
        ...

    @property
    def encoder(self) -> Encoder:
        """The online encoder."""
        ...

    @property
    def modules(self) -> list[nn.Module]:
        """All that must be equal on all processes, with the updates that have begun."""
        ...

    @property
    def guard(self) -> GradientGuard:
        """Counts updates that were skipped."""
        ...

    @property
    def at_boundary(self) -> bool:
        """Whether ``state_dict`` holds everything now: nothing is half collected."""
        ...

    @property
    def continues_games(self) -> bool:
        """Whether ``act`` may be given a step from within a game, as a restored environment returns it."""
        ...

    def join(self) -> None:
        """Learn with the other processes from now on; all call it together."""
        ...

    def release(self) -> None:
        """Let go of the other processes: training is over."""
        ...

    def act(self, step: EnvStep) -> NDArray[np.int64]:
        """Actions for N environments, int64 [N]."""
        ...

    def observe(self, step: EnvStep) -> None:
        """Take in what followed the last actions."""
        ...

    def learn(self) -> dict[str, float] | None:
        """Make the updates that are due; their mean metrics, or None where none is due."""
        ...

    def policy(self, generator: torch.Generator, num_envs: int) -> Callable[[EnvStep], NDArray[np.int64]]:
        """The policy for evaluation on N environments, with a stream of randomness of its own."""
        ...

    def flush(self) -> None:
        """Bring what is kept on disk beside checkpoints (a replay) up to date."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything learning continues from, as tensors and plain values; a replay excepted."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        ...
