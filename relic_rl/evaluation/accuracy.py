"""How often a classifier is right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Accuracy(NamedTuple):
    """Shares of images.

    Attributes:
        top1: whose label has the highest logit.
        top5: whose label is among the five highest; None for five classes or fewer, where it says nothing.
        loss: mean cross-entropy, nats; infinite where a logit is not finite.
        images: how many there are.
    """

    top1: float
    top5: float | None
    loss: float
    images: int

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better: by top-1, and of equals by the loss."""
        return self.top1, -self.loss


@torch.no_grad()
def accuracy(batches: Iterable[tuple[Tensor, Tensor]]) -> Accuracy:
    """Top-1 and top-5 over batches, at least one image in all.

    Args:
        batches: logits [B, K] and labels int64 [B]. An image with a logit that is not finite counts as wrong.
    """
    first = five = images = classes = 0
    loss = 0.0
    for logits, truth in batches:
        classes = logits.shape[1]
        hits = logits.topk(min(5, classes), dim=1).indices == truth[:, None]
        hits &= torch.isfinite(logits).all(dim=1, keepdim=True)
        first += int(hits[:, 0].sum())
        five += int(hits.sum())
        images += len(truth)
        loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    loss = loss / images if math.isfinite(loss) else math.inf
    return Accuracy(first / images, five / images if classes > 5 else None, loss, images)
