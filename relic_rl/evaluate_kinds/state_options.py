"""Options of ``python -m relic_rl.evaluate state``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relic_rl.data_options import ATARI
from relic_rl.evaluate_kinds.shared_options import EncoderOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(EncoderOptions):
    """Linear probes of Atari games' state: macro F1 of annotated memory variables, on frames of other episodes."""

    data: str = option(ATARI, "atari, the frames of --games")
    num_test_images: int = option(8_000, "test frames (of all games together)", min=2)
    penalties: tuple[float, ...] = option(
        (1e-5, 1e-4, 1e-3, 1e-2),
        "weights of the probes' squared norm; chosen on a fifth of the training frames, whole episodes",
        above=0,
    )
    iterations: int = option(100, "of L-BFGS, at most, for each fit", min=1)
    least_entropy: float = option(
        0.6, "nats; variables of less in the training frames or in the test frames are left out", min=0
    )

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if self.data != ATARI:
            yield "--data: states are those of Atari games; leave it out"
        elif self.engine != "envpool":
            yield f"--engine {self.engine} does not show the games' memory: leave it out"
        if not self.penalties:
            yield "--penalties names none: give some, such as 1e-4 1e-3"
