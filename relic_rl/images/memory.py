"""Training and test images that are held in memory (or mapped from disk)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from relic_rl.images.batches import BatchPlan, ImageBatch
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit, Sample


class MemorySource:
    """An `ImageSource` over arrays; nothing is decoded, so there are no worker processes.

    Args:
        train: training images.
        test: test images.
        pin_memory: copy each batch to page-locked memory, for a device that reads it while computing.
    """

    def __init__(self, train: LabelledImages, test: LabelledImages, *, pin_memory: bool = False) -> None:
        self.train = train
        self.test = test
        self.pin_memory = pin_memory
        self.broken: dict[str, str] = {}
        self.fingerprint = train.fingerprint()

    @property
    def num_images(self) -> int:
        """Training images."""
        return len(self.train)

    @property
    def num_classes(self) -> int:
        """Values of the primary label."""
        return self.train.num_classes[self.train.primary]

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return int(self.train.images.shape[1])

    def batches(self, plan: BatchPlan) -> Iterator[ImageBatch]:
        """The batches of a plan, whole images."""
        labels = self.train.labels[self.train.primary]
        for spec in plan:
            images = torch.from_numpy(self.train.images[spec.indices])
            if self.pin_memory:
                images = images.pin_memory()
            yield ImageBatch(spec.number, images, torch.from_numpy(labels[spec.indices]), [])

    def test_sample(self, count: int) -> Sample:
        """The first `count` test images (their order is random)."""
        return self._first(self.test, count)

    def reference_sample(self, count: int) -> Sample:
        """The first `count` training images (their order is random)."""
        return self._first(self.train, count)

    def _first(self, images: LabelledImages, count: int) -> Sample:
        return Sample(MemorySplit(images), np.arange(min(count, len(images)), dtype=np.int64), self.train.primary)
