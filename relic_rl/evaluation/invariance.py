"""How much an intervention on the style changes what a representation says.

Source: Mitrovic et al., ICLR 2021 (arXiv 2010.07922), (R1) and (R2): on held-out images, with the loss that training
minimises (`relic_rl.losses`), both of its terms: can each image be told from the others across the intervention, and
how far are the answers under the two directions of it from each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.evaluation.class_statistics import class_statistics
from relic_rl.evaluation.geometry import alignment
from relic_rl.evaluation.variance_shares import variance_share
from relic_rl.losses import relic_loss


class Intervention(NamedTuple):
    """What one intervention does to a representation.

    Attributes:
        contrastive: InfoNCE between the two views, nats; `chance` where features tell nothing.
        kl: KL between the distributions over candidates under the intervention's two directions, nats, the mean over
            both orders: 0 where the intervention changes nothing (or features tell nothing at all).
        accuracy: share of images that score their own other view above every other image's.
        chance: logarithm of the size of a contrast set.
        alignment: mean squared distance of the normalised features of the two views, in [0, 4].
        style_share: share of the variance of features that the intervention makes rather than the image, in [0, 1].
        images: that were compared.
    """

    contrastive: float
    kl: float
    accuracy: float
    chance: float
    alignment: float
    style_share: float
    images: int


@torch.no_grad()
def measure_intervention(
    first: Tensor,
    second: Tensor,
    critic: Callable[[Tensor], Tensor] = lambda features: features,
    *,
    temperature: float = 0.1,
    contrast_size: int = 256,
) -> Intervention:
    """Compare the features of two views of the same images.

    Args:
        first: [N, D], features of the first view.
        second: [N, D], of the second.
        critic: g, maps features [M, D] to what is compared by its cosine; features themselves by default.
        temperature: tau of the loss.
        contrast_size: images that are told from each other at a time, at least 2; the last ones, where they do not
            fill a contrast set, are left out of the loss. Fewer images than that make one set.

    Raises:
        ValueError: less than two images, or shapes that differ.
    """
    count = len(first)
    if first.shape != second.shape or first.ndim != 2 or count < 2 or contrast_size < 2:
        raise ValueError(
            f"an intervention compares two views [N, D] of two images or more, got {list(first.shape)} and "
            f"{list(second.shape)}, {contrast_size} at a time"
        )
    size = min(contrast_size, count)
    terms = []
    for start in range(0, count - size + 1, size):
        views = [critic(view[start : start + size]) for view in (first, second)]
        out = relic_loss(views, views, temperature=temperature, alpha=1.0)
        terms.append(torch.stack([out.contrastive, out.invariance, out.accuracy]).double())
    contrastive, kl, accuracy = torch.stack(terms).mean(0).tolist()
    image = torch.arange(count, device=first.device)
    statistics = class_statistics(torch.cat([first, second]), torch.cat([image, image]), count)
    return Intervention(
        contrastive=contrastive,
        kl=kl,
        accuracy=accuracy,
        chance=math.log(size),
        alignment=alignment(first, second),
        style_share=1 - variance_share(statistics).share,
        images=count,
    )
