"""Options of ``python -m relic_rl.evaluate finetune``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.evaluate_kinds.shared_options import ClassifierOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(ClassifierOptions):
    """Fine-tuning of the whole encoder with 1 %, 10 % and 100 % of the labels.

    The learning rate is chosen on images held out of the labelled ones, never on the test images; then everything is
    trained anew on all labelled ones.
    """

    shares: tuple[float, ...] = option((0.01, 0.1, 1.0), "of the labels, evenly from the classes", above=0, max=1)
    epochs: int = option(30, "passes over the labelled images, at each learning rate and again for the result", min=1)
    train_batch_size: int = option(256, "images per update", min=2)
    optimiser: Literal["adamw", "sgd"] = option("adamw", "adamw, or sgd with Nesterov momentum as in the papers")
    learning_rates: tuple[float, ...] = option(
        (), "tried; the best is taken; default 1e-4 3e-4 1e-3 for adamw, 0.01 0.03 0.1 for sgd", above=0
    )

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if not self.shares:
            yield "--shares names none: give fractions, such as 0.01 1"

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        defaults = {"adamw": (1e-4, 3e-4, 1e-3), "sgd": (0.01, 0.03, 0.1)}
        return tuple(sorted(set(self.learning_rates or defaults[self.optimiser])))
