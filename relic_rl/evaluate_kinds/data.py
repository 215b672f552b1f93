"""The images of an evaluation: named splits of class folders, Atari frames or generated images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from relic_rl.data_options import ATARI, GENERATED
from relic_rl.evaluate_kinds.shared_options import EncoderOptions
from relic_rl.images.content_style import content_style_images
from relic_rl.images.splits import CLASS, FolderSplit, MemorySplit, Split
from relic_rl.images.styles import SPLITS
from relic_rl.runtime.distributed import Processes, locally_first
from relic_rl.runtime.errors import BadInput

FRAME_STACK = 4  # of every Atari protocol
OOD_SPLITS = tuple(name for name in SPLITS if name.startswith("ood"))
"""Of generated images: styles that training never shows, in all factors ("ood") or in one."""
_FOLDERS = {"train": "train", "test": "val"}


@dataclass(frozen=True)
class Splits:
    """Splits of one data set.

    Attributes:
        source: "class folders", "atari" or "content-style".
        named: "train", "test" and, of generated images, those of `OOD_SPLITS` that are asked for.
        num_classes: by label, the number of values it has.
        primary: the label that is meant unless another is named.
        classes: names of the primary label's values; empty where they have none.
    """

    source: str
    named: Mapping[str, Split]
    num_classes: Mapping[str, int]
    primary: str
    classes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Split:
        return self.named[name]

    @property
    def fingerprint(self) -> str:
        """Equal where all splits are, at whatever size they are shown; as text."""
        parts = "".join(f"{name} {split.identity}\n" for name, split in sorted(self.named.items()))
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def tests(self) -> list[str]:
        """Names of the splits to test on."""
        return [name for name in self.named if name != "train"]

    def label_names(self, wanted: str | None) -> list[str]:
        """The labels that ``--label`` means: the primary one, a named one, or all.

        Raises:
            BadInput: no such label.
        """
        if wanted == "all":
            return list(self.num_classes)
        if wanted is not None and wanted not in self.num_classes:
            known = ", ".join(self.num_classes)
            raise BadInput(f"--label {wanted}: these images have no such label; give all or one of {known}")
        return [wanted or self.primary]

    def about(self) -> dict[str, Any]:
        """For ``result.json``; complete once the images have been seen."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "images": {name: len(split) for name, split in self.named.items()},
            "broken_files": {
                name: dict(sorted(split.broken.items())) for name, split in self.named.items() if split.broken
            },
        }


def data_channels(data: str) -> int:
    """Channels of the images that ``--data`` means."""
    return FRAME_STACK if data == ATARI else 3


def open_splits(
    options: EncoderOptions,
    size: int,
    device: torch.device,
    note: Callable[[str], None],
    *,
    needs: tuple[str, ...] = ("train", "test"),
    processes: Processes = Processes(),  # noqa: B008 (immutable)
) -> Splits:
    """The splits of the data that options name.

    Args:
        options: everything about the data is used, and ``workers``.
        size: height and width at which files are shown and images are generated, pixels.
        device: where agents compute that collect frames.
        note: told what is being collected.
        needs: splits without which nothing can be measured; of generated images those of ``--ood`` come along.
        processes: this one among all.

    Raises:
        ValueError: no such data, or a split is missing.
    """
    if options.data == GENERATED:
        unknown = [name for name in options.ood if name not in OOD_SPLITS]
        if unknown:
            raise ValueError(f"--ood {unknown[0]}: no such split; give some of {', '.join(OOD_SPLITS)}")
        wanted = list(dict.fromkeys((*needs, *options.ood)))
        counts = {"train": options.num_images}
        made = {
            name: content_style_images(
                counts.get(name, options.num_test_images),
                name,
                seed=options.data_seed,
                size=size,
            )
            for name in wanted
        }
        any_of = made[wanted[0]]
        return Splits(
            GENERATED, {name: MemorySplit(images) for name, images in made.items()}, any_of.num_classes, any_of.primary
        )
    if options.data == ATARI:
        return locally_first(lambda: _atari(options, device, note, needs), processes)
    return _folders(options, size, needs)


def _atari(
    options: EncoderOptions, device: torch.device, note: Callable[[str], None], needs: tuple[str, ...]
) -> Splits:
    from relic_rl.pretrain_frames import atari_splits  # noqa: PLC0415 (engines and agents, only if needed)

    train, test = atari_splits(options, device, note)
    found = {"train": train, "test": test}
    named = {name: MemorySplit(found[name]) for name in needs}
    return Splits(ATARI, named, train.num_classes, train.primary)


def _folders(options: EncoderOptions, size: int, needs: tuple[str, ...]) -> Splits:
    root = Path(options.data)
    if not root.is_dir():
        raise ValueError(f"--data {root}: no such folder; give one with train/CLASS/FILE and val/CLASS/FILE")
    missing = [_FOLDERS[name] for name in needs if not (root / _FOLDERS[name]).is_dir()]
    if missing:
        raise ValueError(f"--data {root} has no folder {missing[0]}: images lie in {root / missing[0]}/CLASS/FILE")
    named: dict[str, FolderSplit] = {}
    classes: tuple[str, ...] | None = None
    # The training folder numbers the classes even where only others are looked at.
    for name in ("train", "test"):
        if name in needs or (name == "train" and (root / _FOLDERS[name]).is_dir()):
            split = FolderSplit(root / _FOLDERS[name], size, classes=classes, workers=options.workers)
            classes = split.classes
            if name in needs:
                named[name] = split
    assert classes is not None
    return Splits("class folders", named, {CLASS: len(classes)}, CLASS, classes)
