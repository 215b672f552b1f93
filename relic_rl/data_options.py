"""Options that say which images: what pretraining and the evaluation of encoders share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.runtime.config import option

ATARI, GENERATED = "atari", "content-style"
ATARI_ONLY = {"data": (ATARI,)}
GENERATED_ONLY = {"data": (GENERATED,)}
IN_MEMORY = {"data": (ATARI, GENERATED)}


@dataclass(frozen=True)
class DataOptions:
    """Which images."""

    data: str = option(
        GENERATED,
        "DIR with train/CLASS/FILE and val/CLASS/FILE (ImageNet's layout), atari, or content-style (generated)",
    )
    games: tuple[str, ...] = option(
        ("pong", "breakout", "boxing", "freeway", "ms_pacman", "seaquest", "space_invaders", "qbert"),
        "Atari games to take frames of",
        when=ATARI_ONLY,
    )
    policies: tuple[str, ...] = option(
        (), "run directories of `train` whose agents play their game; the others are played at random", when=ATARI_ONLY
    )
    protocol: Literal["v5", "noop"] = option("v5", "Atari protocol", when=ATARI_ONLY)
    engine: Literal["envpool", "ale"] = option("envpool", "Atari engine; ale shows no memory to label", when=ATARI_ONLY)
    num_images: int = option(20_000, "training images (of all games together)", min=2, when=IN_MEMORY)
    num_test_images: int = option(2_000, "images of each other split (of all games together)", min=2, when=IN_MEMORY)
    data_seed: int = option(0, "seed of the data, the same for encoders that are compared", min=0, when=IN_MEMORY)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if self.data == ATARI and not self.games:
            yield "--games names no game"
