"""Options of ``python -m relic_rl.evaluate invariance``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relic_rl.evaluate_kinds.shared_options import EncoderOptions
from relic_rl.runtime.config import option

COSINE = "cosine"


@dataclass(frozen=True)
class Options(EncoderOptions):
    """Invariance on held-out images: the loss's terms for each augmentation, style in the features, their geometry."""

    critic: str | None = option(
        None,
        "critic.safetensors, or cosine: features themselves; default: the critic beside the encoder, else cosine",
    )
    temperature: float | None = option(
        None, "tau; default: what the encoder was trained with, 0.1 where its file does not say", above=0
    )
    interventions: tuple[str, ...] = option(
        (),
        "of images: crop flip brightness contrast saturation hue grey blur solarise all; of frames: shift intensity "
        "all; default: every one",
    )
    max_images: int = option(2_048, "held-out images that are compared, chosen at random, the same every time", min=2)
    contrast_size: int = option(256, "images that are told from each other at a time", min=2)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if self.contrast_size > self.max_images:
            yield f"--contrast-size {self.contrast_size} is more than --max-images {self.max_images}: lower it"
