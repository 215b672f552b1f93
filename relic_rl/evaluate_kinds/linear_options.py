"""Options of ``python -m relic_rl.evaluate linear``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relic_rl.evaluate_kinds.shared_options import ClassifierOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(ClassifierOptions):
    """Linear evaluation: a linear classifier on frozen features, top-1 and top-5 after the last epoch.

    SGD with Nesterov momentum and a cosine. The learning rate is chosen on images held out of train, never on the test
    images; the classifier is then fitted anew on all of train.
    """

    epochs: int = option(80, "passes over the training images, of the sweep and again of the fit", min=1)
    train_batch_size: int = option(256, "images per update", min=1)
    learning_rates: tuple[float, ...] = option(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0), "tried side by side; the best is taken", above=0
    )
    standardise: bool = option(
        True, "give features mean 0 and variance 1 / their number first; without, learning rates depend on their scale"
    )

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if not self.learning_rates:
            yield "--learning-rates names none: give some, such as 0.3 3"
