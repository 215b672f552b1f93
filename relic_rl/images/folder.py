"""Class folders as training data: files decoded and cropped by worker processes, broken ones passed over."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from relic_rl.images.batches import BatchPlan, BatchSpec, ImageBatch
from relic_rl.images.decoding import BrokenImage, Crop, decode_crops
from relic_rl.images.folder_index import FolderIndex, index_folder, restrict_index
from relic_rl.images.splits import CLASS, FolderSplit, Sample
from relic_rl.images.worker import begin_worker, worker_errors
from relic_rl.representation.crops import crop_boxes
from relic_rl.representation.view_recipes import ViewRecipe, view_draws
from relic_rl.runtime.errors import RunFailed

_TRIES = 100  # broken files in a row until loading gives up


class CroppedBatches(Dataset[ImageBatch]):
    """Batches of crops, one per `BatchSpec`; this is what runs in the worker processes.

    A broken file is replaced by the next one that is sound: which one depends on the files only, so a resumed
    run replaces it likewise.

    Args:
        index: the files.
        recipes: of each view.
        sizes: height and width of each view, pixels.
        key: of the stream of random numbers, see `view_draws`.
        batch_size: rows of a batch over all processes.
        rows: this process's rows.
    """

    def __init__(
        self,
        index: FolderIndex,
        recipes: Sequence[ViewRecipe],
        sizes: Sequence[int],
        *,
        key: int,
        batch_size: int,
        rows: slice,
    ) -> None:
        self.index = index
        self.recipes = list(recipes)
        self.sizes = list(sizes)
        self.key = key
        self.batch_size = batch_size
        self.rows = rows

    def __getitem__(self, spec: BatchSpec) -> ImageBatch:
        """Load a batch; never raises because of a file."""
        draws = view_draws(self.key, spec.number, len(self.recipes), self.batch_size, self.rows)
        batch, views = len(spec.indices), len(self.recipes)
        images = [np.empty((batch, 3, size, size), dtype=np.uint8) for size in self.sizes]
        labels = np.empty(batch, dtype=np.int64)
        broken: dict[str, str] = {}
        for row, first in enumerate(spec.indices):
            crop = np.stack([draw.crop[row] for draw in draws])
            for tried in range(_TRIES):
                at = (int(first) + tried) % len(self.index.paths)
                name = self.index.paths[at]
                try:
                    pieces = self._crops(self.index.root / name, crop)
                except BrokenImage as reason:
                    broken[name] = str(reason)
                    continue
                for view in range(views):
                    images[view][row] = pieces[view]
                labels[row] = self.index.targets[at]
                break
            else:
                name, reason_text = next(iter(broken.items()))
                failure = f"{_TRIES} image files in a row cannot be used, such as {name}: {reason_text}"
                return ImageBatch(spec.number, [], torch.empty(0), list(broken.items()), failure)
        tensors = [torch.from_numpy(view) for view in images]
        return ImageBatch(spec.number, tensors, torch.from_numpy(labels), list(broken.items()))

    def _crops(self, path: Path, uniform: np.ndarray) -> list[np.ndarray]:
        """The crop of every view; uniform [V, CROP_DRAWS]."""

        def choose(height: int, width: int) -> list[Crop]:
            crops = []
            for numbers, recipe, size in zip(uniform, self.recipes, self.sizes, strict=True):
                sides = np.array([height]), np.array([width])
                box = crop_boxes(numbers[None], *sides, recipe.crop_area, recipe.crop_ratio)[0].tolist()
                crops.append(Crop(box[0], box[1], box[2], box[3], size))
            return crops

        return decode_crops(path, choose)


class FolderSource:
    """An `ImageSource` over class folders: DIR/train, and DIR/val where there is one.

    Args:
        folder: DIR.
        recipes: of each view.
        sizes: height and width of each view, pixels.
        eval_size: of test images, pixels.
        key: of the stream of random numbers.
        workers: processes that decode; 0 decodes in this one.
        pin_memory: have batches in page-locked memory.

    Attributes:
        index: the training files.
        broken: path: reason, of all files known to be unusable so far.

    Raises:
        ValueError: no such folder, or no images in the layout.
    """

    channels = 3

    def __init__(
        self,
        folder: Path,
        recipes: Sequence[ViewRecipe],
        sizes: Sequence[int],
        *,
        eval_size: int,
        key: int,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.index = index_folder(folder / "train")
        self.val = index_folder(folder / "val") if (folder / "val").is_dir() else None
        if self.val is not None and not set(self.val.classes) <= set(self.index.classes):
            strange = sorted(set(self.val.classes) - set(self.index.classes))[0]
            raise ValueError(f"{folder / 'val'} has a class {strange!r} that train has not: the layouts must agree")
        self.recipes = list(recipes)
        self.sizes = list(sizes)
        self.eval_size = eval_size
        self.key = key
        self.workers = workers
        self.pin_memory = pin_memory
        self.broken = {f"train/{name}": reason for name, reason in self.index.broken}
        if self.val is not None:
            self.broken |= {f"val/{name}": reason for name, reason in self.val.broken}

    @property
    def num_images(self) -> int:
        """Training images."""
        return len(self.index.paths)

    @property
    def num_classes(self) -> int:
        """Classes."""
        return len(self.index.classes)

    @property
    def fingerprint(self) -> str:
        """Of names and sizes of the training files."""
        return self.index.fingerprint

    def batches(self, plan: BatchPlan) -> Iterator[ImageBatch]:
        """The batches of a plan, loaded ahead by the worker processes.

        Raises:
            RunFailed: a worker died, or nothing but broken files is left.
        """
        data = CroppedBatches(
            self.index, self.recipes, self.sizes, key=self.key, batch_size=plan.batch_size, rows=plan.rows
        )
        loader = DataLoader(
            data,
            sampler=plan,
            batch_size=None,  # a spec is a whole batch
            num_workers=self.workers,
            prefetch_factor=2 if self.workers else None,
            pin_memory=self.pin_memory,
            worker_init_fn=begin_worker,
        )
        with worker_errors():
            for batch in loader:
                if batch.failure:
                    raise RunFailed(batch.failure)
                self.broken |= {f"train/{name}": reason for name, reason in batch.broken}
                yield batch

    def restricted(self, rows: NDArray[np.int64]) -> FolderSource:
        """The same source over some training images, int64 [M]."""
        source = copy.copy(self)
        source.index = restrict_index(self.index, rows)
        return source

    def test_sample(self, count: int) -> Sample | None:
        """Up to `count` images of val/, evenly from all of it; None where there is no val/."""
        return None if self.val is None else self._evenly(self.val, count, "val")

    def reference_sample(self, count: int) -> Sample:
        """Up to `count` training images, evenly from all of them."""
        return self._evenly(self.index, count, "train")

    def _evenly(self, index: FolderIndex, count: int, name: str) -> Sample:
        rows = np.unique(np.linspace(0, len(index.paths) - 1, min(count, len(index.paths))).astype(np.int64))
        split = FolderSplit(
            index,
            self.eval_size,
            classes=self.index.classes,
            workers=self.workers,
            broken=self.broken,
            prefix=f"{name}/",
        )
        return Sample(split, rows, CLASS)
