"""Images in memory with everything that is known about each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledImages:
    """N images and their labels.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: by name, int64 [N]; -1 where an image has no such label.
        primary: the label that the online probe learns.
        num_classes: by name, the number of values a label has; in the splits of one data set they agree.
        groups: int64 [N], at least 0: images of one group are near copies, such as frames of one game's play, and no
            split may part them; None where each image stands for itself. No label: nothing is to predict it.
    """

    images: NDArray[np.uint8]
    labels: Mapping[str, NDArray[np.int64]]
    primary: str
    num_classes: Mapping[str, int]
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 [N, C, H, W], got {self.images.dtype} {list(self.images.shape)}")
        for name, values in self.labels.items():
            if values.shape != (count,):
                raise ValueError(f"label {name!r} must be [N] = [{count}], got {list(values.shape)}")
            if count and not -1 <= int(values.min()) <= int(values.max()) < self.num_classes[name]:
                raise ValueError(f"label {name!r} must lie in [-1, {self.num_classes[name]})")
        if self.groups is not None and self.groups.shape != (count,):
            raise ValueError(f"groups must be [N] = [{count}], got {list(self.groups.shape)}")
        if self.primary not in self.labels:
            raise ValueError(f"no label {self.primary!r} to probe: there are {', '.join(self.labels)}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: NDArray[np.int64]) -> LabelledImages:
        """The images of these indices, int64 [M], in their order."""
        labels = {name: values[index] for name, values in self.labels.items()}
        groups = None if self.groups is None else self.groups[index]
        return LabelledImages(self.images[index], labels, self.primary, self.num_classes, groups)

    def fingerprint(self) -> str:
        """SHA-256 over pixels, labels and groups, as text: equal exactly where the data are."""
        digest = hashlib.sha256(f"{self.images.shape}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        for name in sorted(self.labels):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.labels[name]).data)
        if self.groups is not None:
            digest.update(b"\0groups")
            digest.update(np.ascontiguousarray(self.groups).data)
        return digest.hexdigest()
