"""Splits of a data set, streamed in order and without augmentation: what evaluation looks at.

Of a folder only a few batches are in memory at a time; each file is decoded once per pass, by worker processes.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from relic_rl.images.decoding import BrokenImage, central_crop, decode_crops
from relic_rl.images.folder_index import FolderIndex, index_folder
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.worker import begin_worker, worker_errors

CLASS = "class"
"""The label of class folders."""


class SplitBatch(NamedTuple):
    """Images next to each other in a split, those left out whose file is broken.

    Attributes:
        images: uint8 [B, C, H, W], on the CPU.
        rows: int64 [B], ascending: which images of the split they are.
    """

    images: Tensor
    rows: NDArray[np.int64]


class Split(Protocol):
    """One split of a data set: N images and what is known of each."""

    @property
    def labels(self) -> Mapping[str, NDArray[np.int64]]:
        """By name int64 [N]; -1 where an image has no such label."""
        ...

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Which images are near copies, int64 [N], as of `LabelledImages`; None where none are known to be."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal exactly where the images are, as they are shown."""
        ...

    @property
    def identity(self) -> str:
        """Equal where the data are, at whatever size they are shown."""
        ...

    @property
    def broken(self) -> dict[str, str]:
        """Path: reason, of all files found to be unusable so far."""
        ...

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, rows: NDArray[np.int64] | None = None) -> Iterator[SplitBatch]:
        """All images in order, or those of some rows, int64 [M], in their order; a batch of nothing is left out."""
        ...


class Sample(NamedTuple):
    """Some images of a split and the label that is asked about.

    Attributes:
        split: the split.
        rows: int64 [M], ascending.
        label: name of the label.
    """

    split: Split
    rows: NDArray[np.int64]
    label: str


class MemorySplit:
    """A `Split` of images that are held in memory or mapped from disk.

    Args:
        images: the images.
    """

    def __init__(self, images: LabelledImages) -> None:
        self.images = images
        self.labels = images.labels
        self.groups = images.groups
        self.broken: dict[str, str] = {}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Equal exactly where the images are."""
        return self.images.fingerprint()

    @property
    def identity(self) -> str:
        """The fingerprint: images in memory are shown as they are."""
        return self.fingerprint

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int, rows: NDArray[np.int64] | None = None) -> Iterator[SplitBatch]:
        """All images in order, or those of some rows."""
        rows = np.arange(len(self), dtype=np.int64) if rows is None else rows
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            yield SplitBatch(torch.from_numpy(self.images.images[some]), some)


class FolderSplit:
    """A `Split` of class folders: ROOT/CLASS/FILE, central crops.

    Args:
        root: the split's folder, or what `index_folder` found in it.
        size: height and width of the images, pixels.
        classes: numbers the classes by their place here; None for those of the folder, sorted.
        workers: processes that decode; 0 decodes in this one.
        whole: show the whole image instead of its central 7/8.
        broken: a dictionary that broken files are added to; None for one of its own.
        prefix: of their names in it.
        border: pixels around every image that are no part of it.

    Attributes:
        classes: names of the classes.

    Raises:
        ValueError: no such folder, no images in the layout, or a class that is not among ``classes``.
    """

    def __init__(
        self,
        root: Path | FolderIndex,
        size: int,
        *,
        classes: Sequence[str] | None = None,
        workers: int = 0,
        whole: bool = False,
        broken: dict[str, str] | None = None,
        prefix: str = "",
        border: int = 0,
    ) -> None:
        self.index = index_folder(root) if isinstance(root, Path) else root
        self.size = size
        self.workers = workers
        self.whole = whole
        self.border = border
        self.classes = tuple(self.index.classes if classes is None else classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        strange = [name for name in self.index.classes if name not in numbers]
        if strange:
            raise ValueError(f"{self.index.root} has a class {strange[0]!r} that train has not: the layouts must agree")
        number = np.array([numbers[name] for name in self.index.classes], dtype=np.int64)
        self.labels = {CLASS: number[self.index.targets]}
        self.groups: NDArray[np.int64] | None = None
        self.identity = _hash(self.index.fingerprint, *self.classes)
        self.fingerprint = _hash(self.identity, str(size), str(whole), *([f"border {border}"] if border else []))
        self.prefix = prefix
        self.broken: dict[str, str] = {} if broken is None else broken
        self._add_broken(dict(self.index.broken))

    def __len__(self) -> int:
        return len(self.index.paths)

    def batches(self, batch_size: int, rows: NDArray[np.int64] | None = None) -> Iterator[SplitBatch]:
        """All images in order, or those of some rows, decoded ahead by the worker processes.

        Raises:
            RunFailed: a worker died.
        """
        rows = np.arange(len(self), dtype=np.int64) if rows is None else rows
        loader = DataLoader(
            _Decoded(self.index, self.size, self.whole, self.border, rows, batch_size),
            batch_size=None,  # an item is a whole batch
            num_workers=min(self.workers, math.ceil(len(rows) / batch_size)),
            worker_init_fn=begin_worker,
        )
        with worker_errors():
            for images, kept, broken in loader:
                self._add_broken(broken)
                if len(kept):
                    yield SplitBatch(images, kept.numpy())

    def _add_broken(self, broken: Mapping[str, str]) -> None:
        self.broken.update({self.prefix + name: reason for name, reason in broken.items()})


class RowsSplit:
    """Some images of another split, in their order.

    Args:
        split: the other.
        rows: int64 [N], ascending, which of its images.
    """

    def __init__(self, split: Split, rows: NDArray[np.int64]) -> None:
        self.split = split
        self.chosen = rows
        self.labels: Mapping[str, NDArray[np.int64]] = {name: values[rows] for name, values in split.labels.items()}
        self.groups = None if split.groups is None else split.groups[rows]
        which = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()
        self.fingerprint = _hash(split.fingerprint, which)
        self.identity = _hash(split.identity, which)
        self.broken = split.broken

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, batch_size: int, rows: NDArray[np.int64] | None = None) -> Iterator[SplitBatch]:
        """All images in order, or those of some rows, counted among those that are left."""
        wanted = self.chosen if rows is None else self.chosen[rows]
        for images, of_other in self.split.batches(batch_size, wanted):
            yield SplitBatch(images, np.searchsorted(self.chosen, of_other).astype(np.int64))


def _hash(*parts: str) -> str:
    """SHA-256 over texts; names of files may be no valid Unicode."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


class _Decoded(Dataset[tuple[Tensor, Tensor, dict[str, str]]]):
    """Batches of decoded images, the rows they are, and (path: reason) of files that are broken."""

    def __init__(
        self, index: FolderIndex, size: int, whole: bool, border: int, rows: NDArray[np.int64], batch_size: int
    ) -> None:
        self.index = index
        self.size = size
        self.whole = whole
        self.border = border
        self.rows = rows
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, dict[str, str]]:
        if number >= len(self):
            raise IndexError(number)
        images, kept, broken = [], [], {}
        for row in self.rows[number * self.batch_size : (number + 1) * self.batch_size].tolist():
            name = self.index.paths[row]
            try:
                images += decode_crops(
                    self.index.root / name,
                    lambda h, w: [central_crop(h, w, self.size, whole=self.whole, border=self.border)],
                )
                kept.append(row)
            except BrokenImage as reason:
                broken[name] = str(reason)
        stacked = np.stack(images) if images else np.empty((0, 3, self.size, self.size), dtype=np.uint8)
        return torch.from_numpy(stacked), torch.tensor(kept, dtype=torch.int64), broken
