"""How much of a classifier's accuracy is left on images unlike those it learned from.

Sources: Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261), section 3: corruption error; Hendrycks et al., 2021
(arXiv 2006.16241, 1907.07174): ImageNet-R and -A; Barbu et al., 2019: ObjectNet.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's top-1 error on each of ImageNet-C's corruptions, mean of the severities, as the authors published it."""
ALEXNET_CLEAN_ERROR = 0.435
"""AlexNet's top-1 error on ImageNet's validation images in the paper's table 1."""

NUM_SEVERITIES = 5
Errors = Mapping[str, Sequence[float]]
"""By corruption, the top-1 error at each severity, fractions."""


class CorruptionErrors(NamedTuple):
    """What the errors on ImageNet-C come to; fractions, 1 is AlexNet.

    Attributes:
        by_corruption: CE_c = sum over s of E_sc / sum over s of E_sc of AlexNet.
        mce: their mean, the mean corruption error.
        relative: by corruption, the same with the clean error subtracted from every error, each network's own.
        relative_mce: their mean.
    """

    by_corruption: dict[str, float]
    mce: float
    relative: dict[str, float]
    relative_mce: float


def mean_corruption_error(errors: Errors, clean_error: float) -> CorruptionErrors:
    """Mean and relative mean corruption error (section 3 of the paper).

    Args:
        errors: on all fifteen corruptions, five severities each, on ImageNet-C's own files.
        clean_error: top-1 error on ImageNet's validation images.

    Raises:
        ValueError: a corruption or a severity is missing: the number would be another one.
    """
    incomplete = [name for name in ALEXNET_ERRORS if len(errors.get(name, ())) != NUM_SEVERITIES]
    if incomplete or len(errors) != len(ALEXNET_ERRORS):
        raise ValueError(f"mCE is of 15 corruptions at 5 severities; incomplete: {', '.join(incomplete)}")
    means = {name: statistics.fmean(errors[name]) for name in ALEXNET_ERRORS}
    by_corruption = {name: means[name] / alexnet for name, alexnet in ALEXNET_ERRORS.items()}
    relative = {
        name: (means[name] - clean_error) / (alexnet - ALEXNET_CLEAN_ERROR) for name, alexnet in ALEXNET_ERRORS.items()
    }
    return CorruptionErrors(
        by_corruption, statistics.fmean(by_corruption.values()), relative, statistics.fmean(relative.values())
    )


def mean_error(errors: Errors) -> float:
    """Mean over corruptions of the mean over severities, of whatever there is, at least one."""
    return statistics.fmean(statistics.fmean(of_severity) for of_severity in errors.values())


class Hits(NamedTuple):
    """Counts of images of which a classifier is right.

    Attributes:
        images: all.
        top1: whose best class is right, among all classes.
        top5: whose five best classes hold a right one.
        own_top1: whose best class is right, among those that are right for any image of the data set.
        own_top5: the five best, likewise.
    """

    images: int
    top1: int
    top5: int
    own_top1: int
    own_top5: int


def count_hits(batches: Iterable[tuple[Tensor, Tensor]], accepted: Tensor) -> Hits:
    """Count over a data set.

    Args:
        batches: logits, float [B, C], and the data set's class of each image, int64 [B].
        accepted: bool [D, C], which of the classifier's C classes are right for each of the D classes.
    """
    own = accepted.any(dim=0)
    total = torch.zeros(5, dtype=torch.int64)
    for logits, targets in batches:
        right = accepted[targets]
        among_own = logits.masked_fill(~own, float("-inf"))
        counts = [len(logits)]
        for scores, most in ((logits, logits.shape[1]), (among_own, int(own.sum()))):
            best = scores.topk(min(5, most), dim=1).indices
            hit = right.gather(1, best)
            counts += [int(hit[:, 0].sum()), int(hit.any(dim=1).sum())]
        total += torch.tensor(counts)
    return Hits(*total.tolist())
