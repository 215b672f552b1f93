"""The linear discriminant ratio: how far apart classes lie, measured by how far each is spread.

Source: Mitrovic et al., ICLR 2021 (arXiv 2010.07922), section 4.1: for each ordered pair of classes

    F(k, k') = ||mu_k - mu_k'||^2 / mean over i != j in C_k of ||f_i - f_j||^2

after Fisher, 1936. The mean in the denominator is 2 tr S_k, twice the trace of the unbiased covariance, so only class
statistics are needed. Higher is better; a common factor on all features changes nothing.

Departures: the paper sums over i, j in the denominator, which makes F depend on the number of images of a class; here
it is their mean, and the sum is an option for classes of equal size. From finite classes the numerator is too large
by tr S_k / n_k + tr S_k' / n_k' on average, which is subtracted; where more than all of it goes, F is 0, and the
number of such pairs is told.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from relic_rl.evaluation.class_statistics import ClassStatistics

QUANTILES = tuple(i / 100 for i in range(101))
"""At which `DiscriminantRatio.quantiles` are taken."""


class DiscriminantRatio(NamedTuple):
    """The ratio's distribution over ordered pairs of classes.

    Attributes:
        median: of all pairs.
        lower_quartile: a quarter of the pairs is below.
        upper_quartile: a quarter of the pairs is above.
        mean: of all pairs.
        quantiles: at QUANTILES, for plots.
        pairs: ordered pairs of classes that were compared.
        clipped: those among them whose corrected numerator was below 0.
        classes: classes that were compared.
        too_few: classes of less than two images, left out.
        without_spread: classes of two and more images that all have one feature, left out: the ratio has no
            denominator.
    """

    median: float
    lower_quartile: float
    upper_quartile: float
    mean: float
    quantiles: list[float]
    pairs: int
    clipped: int
    classes: int
    too_few: int
    without_spread: int


def pair_ratios(
    statistics: ClassStatistics, *, correct_bias: bool = True, denominator: Literal["mean", "sum"] = "mean"
) -> tuple[Tensor, int]:
    """The ratio F(k, k') of every ordered pair of classes.

    Args:
        statistics: of K classes with at least two images, and not all alike, each.
        correct_bias: subtract what finite classes add to the numerator.
        denominator: "mean" over ordered pairs of images of class k, or their "sum".

    Returns:
        float64 [K, K], row k against column k', nan on the diagonal; and the number of pairs that were clipped at 0.

    Raises:
        ValueError: "sum" with classes of different sizes, where it compares nothing.
    """
    counts, means, variances = statistics.counts, statistics.means, statistics.variances
    if denominator == "sum" and len(counts) and counts.min() != counts.max():
        raise ValueError(
            f"the sum in the denominator needs classes of equal size, these have {int(counts.min())} to "
            f"{int(counts.max())} images: use the mean"
        )
    # Not as a matrix product: |a|^2 - 2ab + |b|^2 cancels where means are close.
    distance = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    off = ~torch.eye(len(counts), dtype=torch.bool)
    if correct_bias:
        distance = distance - (variances / counts)[:, None] - (variances / counts)[None, :]
    clipped = int(((distance < 0) & off).sum())
    spread = 2 * variances
    if denominator == "sum":
        spread = spread * counts * (counts - 1)
    return (distance.clamp_min(0) / spread[:, None]).masked_fill(~off, torch.nan), clipped


def discriminant_ratio(
    statistics: ClassStatistics, *, correct_bias: bool = True, denominator: Literal["mean", "sum"] = "mean"
) -> DiscriminantRatio:
    """The distribution of the ratio over ordered pairs of classes that have one; see `pair_ratios`.

    Raises:
        ValueError: less than two classes have two images and any spread.
    """
    enough = statistics.counts >= 2
    # Against rounding: the mean of equal numbers may miss them in the last digit.
    kept = enough & (statistics.scatter > 1e-24 * statistics.counts * statistics.means.square().sum(1))
    if int(kept.sum()) < 2:
        raise ValueError(
            f"the discriminant ratio needs two classes of at least two images with different features, there are "
            f"{int(kept.sum())} (and {int(enough.sum())} with two images): give more images, if the encoder is alive"
        )
    ratios, clipped = pair_ratios(
        ClassStatistics(*(values[kept] for values in statistics)), correct_bias=correct_bias, denominator=denominator
    )
    values = ratios[~torch.isnan(ratios)].sort().values
    quantiles = [_quantile(values, share) for share in QUANTILES]
    return DiscriminantRatio(
        median=quantiles[50],
        lower_quartile=quantiles[25],
        upper_quartile=quantiles[75],
        mean=float(values.mean()),
        quantiles=quantiles,
        pairs=len(values),
        clipped=clipped,
        classes=int(kept.sum()),
        too_few=int(((statistics.counts > 0) & ~enough).sum()),
        without_spread=int((enough & ~kept).sum()),
    )


def _quantile(ordered: Tensor, share: float) -> float:
    """By linear interpolation, of any number of values (torch's own stops at 2^24)."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (position - below))
