"""How much of the variance of features a label explains: the one-way analysis of variance, summed over features.

A feature is modelled as f = mu + a_k + e: an effect a_k of its label's value and a rest e. The share of the label is
Var(a) / (Var(a) + Var(e)), the intraclass correlation ICC(1) (Shrout and Fleiss, 1979), its variances estimated
without bias as of Searle, 1971, chapter 9 (unequal group sizes). With content as the label, 1 minus its share is style.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from relic_rl.evaluation.class_statistics import ClassStatistics


class VarianceShare(NamedTuple):
    """What a label explains of the variance of features, summed over features.

    Attributes:
        between: Var(a), at least 0.
        within: Var(e).
        share: between / (between + within); nan where features do not vary.
    """

    between: float
    within: float
    share: float


def variance_share(statistics: ClassStatistics) -> VarianceShare:
    """The share of variance that the classes explain.

    Raises:
        ValueError: fewer than two classes with images, or no class with two.
    """
    seen = statistics.counts > 0
    counts, means, scatter = (values[seen] for values in statistics)
    total, classes = float(counts.sum()), len(counts)
    if classes < 2 or total <= classes:
        raise ValueError(
            f"{int(total)} images of {classes} values of the label: shares of variance need two values, and one "
            "of them twice"
        )
    grand = (counts[:, None] * means).sum(0) / total
    mean_square_between = float((counts * (means - grand).square().sum(1)).sum()) / (classes - 1)
    within = float(scatter.sum()) / (total - classes)
    group_size = (total - float(counts.square().sum()) / total) / (classes - 1)
    between = max(mean_square_between - within, 0.0) / group_size
    whole = between + within
    return VarianceShare(between, within, between / whole if whole > 0 else torch.nan)
