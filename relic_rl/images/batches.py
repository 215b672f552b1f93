"""Which images make which batch: a pure function of seed, epoch and position, over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from relic_rl.images.splits import Sample


class BatchSpec(NamedTuple):
    """A batch that is to be loaded.

    Attributes:
        number: how many batches came before in the whole run.
        indices: int64 [B], this process's images.
    """

    number: int
    indices: NDArray[np.int64]


class ImageBatch(NamedTuple):
    """A batch as it was loaded, on the CPU.

    Attributes:
        number: see `BatchSpec`.
        images: uint8 [B, C, H, W], whole images that are yet to be cropped; or, of image files, one tensor per
            view [B, 3, size, size], cropped and not yet mirrored.
        labels: int64 [B], the primary label; -1 where there is none.
        broken: (path, reason) of files that were passed over for others.
        failure: why no batch could be made; empty otherwise.
    """

    number: int
    images: Tensor | list[Tensor]
    labels: Tensor
    broken: list[tuple[str, str]]
    failure: str = ""


class ImageSource(Protocol):
    """The training images of a data set, and a sample of test images that are shown whole."""

    @property
    def num_images(self) -> int:
        """Training images."""
        ...

    @property
    def num_classes(self) -> int:
        """Values of the primary label."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the images."""
        ...

    @property
    def broken(self) -> dict[str, str]:
        """Path: reason, of all files known to be unusable so far."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal exactly where the training data are."""
        ...

    def batches(self, plan: BatchPlan) -> Iterator[ImageBatch]:
        """The batches of a plan, in its order."""
        ...

    def test_sample(self, count: int) -> Sample | None:
        """Up to `count` test images, the same ones at every call; None where the data have no test split."""
        ...

    def reference_sample(self, count: int) -> Sample:
        """Up to `count` training images without augmentation, the same ones at every call."""
        ...


@dataclass(frozen=True)
class BatchPlan:
    """Batches from one number to another; each epoch shows every image at most once, in an order of its own.

    The last, smaller batch of an epoch is left out: images that fall into it are others in every epoch.

    Attributes:
        num_images: N.
        batch_size: images of a batch over all processes.
        seed: of the orders, at least 0.
        start: number of the first batch.
        stop: number after the last one.
        rank: of this process.
        world_size: R, the number of processes; it divides the batch size.
        parts: batches of one update; an epoch holds whole updates.
    """

    num_images: int
    batch_size: int
    seed: int
    start: int
    stop: int
    rank: int = 0
    world_size: int = 1
    parts: int = 1

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.num_images // (self.batch_size * self.parts) * self.parts

    def starting(self, number: int) -> BatchPlan:
        """The same plan from another batch on."""
        return replace(self, start=number)

    @property
    def rows(self) -> slice:
        """This process's rows of every batch."""
        each = self.batch_size // self.world_size
        return slice(self.rank * each, (self.rank + 1) * each)

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[BatchSpec]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for number in range(self.start, self.stop):
            if number // self.per_epoch != epoch:
                epoch = number // self.per_epoch
                generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, epoch]))
                order = generator.permutation(self.num_images)
            first = (number % self.per_epoch) * self.batch_size
            yield BatchSpec(number, order[first : first + self.batch_size][self.rows])
