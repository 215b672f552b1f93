"""What changes over a run as a function of the update alone, so that a resumed run needs nothing to continue."""

from __future__ import annotations

import math


def warmup_cosine(update: int, *, peak: float, warmup: int, total: int) -> float:
    """Learning rate of an update: up in a straight line, down along half a cosine, 0 after the last.

    Source: Loshchilov and Hutter, 2017 (arXiv 1608.03983), with the warm-up of Goyal et al., 2017 (arXiv
    1706.02677).

    Args:
        update: 0 for the first.
        peak: the highest learning rate, that of update ``warmup``.
        warmup: updates before the peak is reached, below ``total``.
        total: updates of the run.
    """
    if update < warmup:
        return peak * (update + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))


def decay_to_one(update: int, *, base: float, total: int) -> float:
    """Fraction of the old target kept after an update: from ``base`` to 1 along half a cosine.

    1 - (1 - base) (cos(pi update / total) + 1) / 2: Grill et al., 2020, BYOL (arXiv 2006.07733), section 3.3.

    Args:
        update: 0 for the first.
        base: the first decay, in [0, 1].
        total: updates of the run.
    """
    return 1 - (1 - base) * 0.5 * (1 + math.cos(math.pi * update / total))


def scaled_learning_rate(learning_rate: float, batch_size: int) -> float:
    """The linear scaling rule: a learning rate stated for batches of 256 images, for another batch size.

    Source: Goyal et al., 2017 (arXiv 1706.02677), section 2.1.
    """
    return learning_rate * batch_size / 256
