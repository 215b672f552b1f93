"""Fine-tuning with few labels: encoder and linear classifier learn from a share of the labelled training images.

Source: the semi-supervised protocol of Chen et al., 2020, SimCLR (arXiv 2002.05709), and Grill et al., 2020, BYOL
(arXiv 2006.07733): 1 % or 10 % of the labels, evenly from the classes; Nesterov momentum 0.9, a cosine, no weight
decay; the learning rate chosen on held-out images.

Departures: the images that choose the learning rate are held out of the labelled share itself, so that no further
label is used; AdamW by default, since the encoders here differ in scale (`sgd` is the papers'); the classifier starts
at zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.optimisers import build_optimiser, set_learning_rate
from relic_rl.runtime.precision import autocast
from relic_rl.runtime.schedules import warmup_cosine

OptimiserName = Literal["adamw", "sgd"]


def labelled_share(labels: Tensor, share: float, seed: np.random.SeedSequence) -> Tensor:
    """The images of a share of the labels: the same share of every class, at least one image of each.

    Args:
        labels: int64 [N], from 0.
        share: in (0, 1].
        seed: of the choice; for one seed a smaller share is part of a larger one.

    Returns:
        int64 [M], ascending.
    """
    generator = np.random.default_rng(seed)
    values, chosen = labels.numpy(), []
    for value in np.unique(values):
        rows = generator.permutation(np.flatnonzero(values == value))
        chosen.append(rows[: max(1, math.floor(share * len(rows) + 0.5))])
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


class Classifier(nn.Module):
    """An encoder and a linear classifier on its features.

    Args:
        encoder: maps images to features [N, D].
        feature_dim: D.
        num_classes: K.
    """

    def __init__(self, encoder: Encoder, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images as the encoder takes them."""
        logits: Tensor = self.head(self.encoder(images))
        return logits

    def is_finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(torch.isfinite(weights).all()) for weights in self.parameters())


def train_classifier(
    classifier: Classifier,
    batches: Iterable[tuple[Tensor, Tensor]],
    total: int,
    *,
    learning_rate: float,
    optimiser: OptimiserName,
    weight_decay: float,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> None:
    """Train everything in a classifier, which is left in evaluation mode; centred filters stay so.

    Args:
        classifier: on the device; changed in place.
        batches: images as the encoder takes them and labels int64 [B], on the device.
        total: how many batches that is.
        learning_rate: the highest of a cosine to 0.
        optimiser: "adamw", or "sgd" with Nesterov momentum 0.9.
        weight_decay: of matrices and kernels under adamw, of everything under sgd.
        device: where to compute.
        dtype: of autocast; None computes in fp32.
    """
    steps: torch.optim.Optimizer
    if optimiser == "adamw":
        steps = build_optimiser("adamw", [classifier], learning_rate=learning_rate, weight_decay=weight_decay)
    else:
        steps = torch.optim.SGD(
            classifier.parameters(), lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
        )
    classifier.train()
    for update, (images, labels) in enumerate(batches):
        with autocast(device, dtype):
            logits = classifier(images)
        loss = functional.cross_entropy(logits.float(), labels)
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        classifier.encoder.centre_gradients()
        set_learning_rate(steps, warmup_cosine(update, peak=learning_rate, warmup=0, total=total))
        steps.step()
        classifier.encoder.centre_weights()
    classifier.eval()
