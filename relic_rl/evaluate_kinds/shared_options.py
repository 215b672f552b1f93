"""Options that kinds of evaluation share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.runtime.config import option

ATARI, GENERATED = "atari", "content-style"
UNTRAINED = "untrained"
_ATARI_ONLY = {"data": (ATARI,)}
_IN_MEMORY = {"data": (ATARI, GENERATED)}


@dataclass(frozen=True)
class EncoderOptions:
    """Evaluate an encoder on images."""

    encoder: str | None = option(
        None, "encoder.safetensors of pretrain or train, another project's ResNet (FILE or FILE#PREFIX), or untrained"
    )
    architecture: Literal["nature", "impala", "resnet18", "resnet50"] | None = option(
        None, "what to build where no file says it: for --encoder untrained"
    )
    name: str | None = option(None, "the encoder's name in tables, the same for all its seeds; default: its objective")
    data: str = option(
        GENERATED,
        "DIR with train/CLASS/FILE and val/CLASS/FILE (ImageNet's layout), atari, or content-style (generated)",
    )
    games: tuple[str, ...] = option(
        ("pong", "breakout", "boxing", "freeway", "ms_pacman", "seaquest", "space_invaders", "qbert"),
        "Atari games to take frames of",
        when=_ATARI_ONLY,
    )
    policies: tuple[str, ...] = option(
        (), "run directories of `train` whose agents play their game; the others are played at random", when=_ATARI_ONLY
    )
    protocol: Literal["v5", "noop"] = option("v5", "Atari protocol", when=_ATARI_ONLY)
    engine: Literal["envpool", "ale"] = option(
        "envpool", "Atari engine; ale shows no memory to label", when=_ATARI_ONLY
    )
    num_images: int = option(20_000, "training images (of all games together)", min=2, when=_IN_MEMORY)
    num_test_images: int = option(2_000, "images of each other split", min=2, when=_IN_MEMORY)
    ood: tuple[str, ...] = option(
        ("ood",),
        "splits of generated images in styles that training never shows: ood (all factors at once), ood-FACTOR (one)",
        when={"data": (GENERATED,)},
    )
    data_seed: int = option(0, "seed of the data, the same for encoders that are compared", min=0, when=_IN_MEMORY)
    image_size: int | None = option(
        None, "height and width that the encoder sees, pixels; default: what it was built for", min=8
    )
    batch_size: int = option(256, "images at a time", min=1)
    workers: int = option(4, "processes that decode image files; 0 = none", min=0)
    cache_features: bool = option(
        True, "keep features under ~/.cache/relic_rl for the next evaluation (at most 20 GiB, least used go first)"
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:INDEX")
    precision: Literal["fp32", "bf16"] = option("fp32", "what the encoder computes in")
    threads: int = option(0, "CPU threads of torch; 0 = all cores", min=0)
    seed: int = option(0, "seed of every stream of random numbers", min=0)
    out: str | None = option(None, "folder of the report, new or empty; default runs/KIND-NAME-NUMBER", saved=False)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if self.encoder is None:
            yield "--encoder is missing: give an encoder.safetensors, or untrained"
        elif self.encoder == UNTRAINED and self.architecture is None:
            yield "--encoder untrained needs --architecture: nature, impala, resnet18 or resnet50"
        if self.data == ATARI and not self.games:
            yield "--games names no game"


@dataclass(frozen=True)
class LabelOptions(EncoderOptions):
    """Evaluate what features tell of labels."""

    label: str | None = option(None, "label to predict, or all; default: the data's main one (class, member, game)")


@dataclass(frozen=True)
class CompareOptions:
    """Join finished results of one kind."""

    compare: tuple[str, ...] = option((), "folders of results; those of one name are seeds of one encoder")
    out: str | None = option(None, "folder of the joined table, new or empty; default runs/KIND-comparison-NUMBER")

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if not self.compare:
            yield "--compare names no folder: give those of finished results"
        if len(set(self.compare)) < len(self.compare):
            yield "--compare names a folder twice: name each once"
