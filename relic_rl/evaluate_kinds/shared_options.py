"""Options that kinds of evaluation share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.data_options import GENERATED_ONLY, DataOptions
from relic_rl.runtime.config import option

UNTRAINED = "untrained"


@dataclass(frozen=True)
class _Encoder:
    """Which encoder."""

    encoder: str | None = option(
        None, "encoder.safetensors of pretrain or train, another project's ResNet (FILE or FILE#PREFIX), or untrained"
    )
    architecture: Literal["nature", "impala", "resnet18", "resnet50"] | None = option(
        None, "what to build where no file says it: for --encoder untrained"
    )
    name: str | None = option(None, "the encoder's name in tables, the same for all its seeds; default: its objective")


@dataclass(frozen=True)
class EncoderOptions(DataOptions, _Encoder):  # in the help _Encoder's come first
    """Evaluate an encoder on images."""

    ood: tuple[str, ...] = option(
        ("ood",),
        "splits of generated images in styles that training never shows: ood (all factors at once), ood-FACTOR (one)",
        when=GENERATED_ONLY,
    )
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
        yield from super().problems()
        if self.encoder is None:
            yield "--encoder is missing: give an encoder.safetensors, or untrained"
        elif self.encoder == UNTRAINED and self.architecture is None:
            yield "--encoder untrained needs --architecture: nature, impala, resnet18 or resnet50"


@dataclass(frozen=True)
class LabelOptions(EncoderOptions):
    """Evaluate what features tell of labels."""

    label: str | None = option(None, "label to predict, or all; default: the data's main one (class, member, game)")


@dataclass(frozen=True)
class ClassifierOptions(LabelOptions):
    """Evaluate a classifier that is trained; its learning rate is chosen on images held out."""

    augmentation: Literal["auto", "crops", "none"] = option(
        "auto",
        "of training images: crops (random resized crops and mirroring; the encoder runs in each epoch), none (linear: "
        "features are computed once, fast), auto (crops for folders, none for others: crops would falsify labels)",
    )
    held_out: float = option(
        0.1, "share of the images to learn from that the learning rate is chosen on", above=0, max=0.5
    )
    weight_decay: float = option(0.0, "of the weights that are trained", min=0)


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
