"""Of each class: how many images, their mean feature, and how far they scatter around it; exactly, or in one pass.

All that the linear discriminant ratio and the shares of variance need of features. In one pass (Chan, Golub and
LeVeque, 1979, equation 2.1, batch by batch) nothing but these [K, D] numbers is held, so that a data set of any size
does; both ways sum in float64 and agree to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClassStatistics(NamedTuple):
    """Statistics of K classes (D: features), float64 on the CPU.

    Attributes:
        counts: n_k, [K].
        means: mu_k, [K, D]; zero where a class has no image.
        scatter: sum over the images of a class of ||f_i - mu_k||^2, [K].
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    @property
    def variances(self) -> Tensor:
        """tr S_k, the trace of the unbiased covariance within each class, [K]; nan below two images."""
        few = self.counts < 2
        return (self.scatter / (self.counts - 1).clamp_min(1)).masked_fill(few, torch.nan)


@torch.no_grad()
def class_statistics(features: Tensor, labels: Tensor, num_classes: int) -> ClassStatistics:
    """Statistics of features that are all at hand, in two passes.

    Args:
        features: [N, D].
        labels: int64 [N], below num_classes; -1 where there is none, which leaves the image out.
        num_classes: K.

    Raises:
        ValueError: shapes or labels that do not fit, or features that are not finite.
    """
    features, labels = _checked(features, labels, num_classes)
    counts, means = _means(features, labels, num_classes)
    scatter = _scatter(features, labels, means)
    return ClassStatistics(counts.cpu(), means.cpu(), scatter.cpu())


class StreamingClassStatistics:
    """The same, from batches that are seen once.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._now: ClassStatistics | None = None

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch, [B, D] and int64 [B], as `class_statistics` takes all; what is held stays on its device.

        Raises:
            ValueError: shapes or labels that do not fit, or features that are not finite.
        """
        features, labels = _checked(features, labels, self.num_classes)
        counts, means = _means(features, labels, self.num_classes)
        batch = ClassStatistics(counts, means, _scatter(features, labels, means))
        if self._now is None:
            self._now = batch
            return
        old = self._now
        total = old.counts + batch.counts
        weight = batch.counts / total.clamp_min(1)
        step = batch.means - old.means
        between = step.square().sum(1) * old.counts * weight
        self._now = ClassStatistics(total, old.means + step * weight[:, None], old.scatter + batch.scatter + between)

    def result(self) -> ClassStatistics:
        """The statistics of everything seen.

        Raises:
            ValueError: nothing has been seen.
        """
        if self._now is None:
            raise ValueError("no images to take class statistics of")
        return ClassStatistics(*(values.cpu() for values in self._now))


def _checked(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Labelled rows in float64, their labels on the same device."""
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"features must be [N, D] and labels [N], got {list(features.shape)} and {list(labels.shape)}")
    labels = labels.to(features.device)
    if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels must lie in [-1, {num_classes}), got {int(labels.min())} to {int(labels.max())}")
    known = labels >= 0
    rows = features[known].double()
    if not torch.isfinite(rows).all():
        raise ValueError("features are not finite: the encoder has diverged, take earlier weights")
    return rows, labels[known]


def _means(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Counts [K] and means [K, D]."""
    counts = torch.bincount(labels, minlength=num_classes).double()
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return counts, sums / counts.clamp_min(1)[:, None]


def _scatter(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """Sum of squared distances to the class's mean, [K]."""
    distance = (features - means[labels]).square().sum(1)
    return distance.new_zeros(len(means)).index_add_(0, labels, distance)
