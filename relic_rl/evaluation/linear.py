"""Linear evaluation: a linear classifier on frozen features, by the standard recipe.

Source: Kolesnikov et al., 2019 (arXiv 1901.09005), in the form of Grill et al., 2020, BYOL (arXiv 2006.07733), appendix
C.1: SGD with Nesterov momentum 0.9, no weight decay, a cosine from the learning rate to 0, the learning rate chosen on
images held out of the training set, then a fit on all of it; what is reported is the last epoch.

Departures: features are standardised over the training images and divided by sqrt(D), a fixed affine map that leaves
what is linear linear, so that one range of learning rates serves encoders whose features differ in scale by orders of
magnitude (`identity=True` is the paper's); weights start at zero; all learning rates of a sweep learn side by side from
the same batches; biases are left out of weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.evaluation.accuracy import Accuracy, accuracy
from relic_rl.evaluation.held_out import held_out
from relic_rl.runtime.distributed import Processes, gather_to_all
from relic_rl.runtime.errors import RunFailed
from relic_rl.runtime.schedules import warmup_cosine

_CHUNK = 4_096  # rows of features on the device at a time, where nothing is learned
Batches = Iterable[tuple[Tensor, Tensor]]
"""Features [B, D] and labels int64 [B], on the device of the heads."""


class Standardisation(NamedTuple):
    """A fixed affine map of features: (x - mean) * scale.

    Attributes:
        mean: [D].
        scale: [D]; 0 for a feature that never varies.
    """

    mean: Tensor
    scale: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features [N, D], mapped."""
        return (features - self.mean) * self.scale

    def to(self, device: torch.device) -> Standardisation:
        """The same map on a device."""
        return Standardisation(self.mean.to(device), self.scale.to(device))


def standardisation(features: Tensor, *, identity: bool = False) -> Standardisation:
    """The map that gives each feature mean 0 and variance 1 / D, so that their squared norm is 1 on average.

    Args:
        features: [N, D], N at least 1; perhaps mapped from disk, read in chunks.
        identity: the map that changes nothing instead.
    """
    dim = features.shape[1]
    if identity:
        return Standardisation(torch.zeros(dim), torch.ones(dim))
    total = torch.zeros(dim, dtype=torch.float64)
    for chunk in torch.split(features, _CHUNK):
        total += chunk.double().sum(dim=0)
    mean = total / len(features)
    squares = torch.zeros(dim, dtype=torch.float64)
    for chunk in torch.split(features, _CHUNK):
        squares += (chunk.double() - mean).square().sum(dim=0)
    deviation = (squares / len(features)).sqrt()
    varies = deviation > 1e-6 * deviation.max()
    scale = torch.where(varies, 1 / torch.where(varies, deviation, 1.0), 0.0) / math.sqrt(dim)
    return Standardisation(mean.float(), scale.float())


def feature_batches(
    features: Tensor, labels: Tensor, rows: Tensor, *, batch_size: int, epochs: int, key: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of frozen features, each epoch in an order of its own; the last, smaller batch is used too.

    Args:
        features: [N, D], on the CPU.
        labels: int64 [N].
        rows: int64 [M], those to learn from.
        batch_size: B.
        epochs: passes.
        key: of the orders, at least 0.
        device: where the batches go.
    """
    for epoch in range(epochs):
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, epoch]))
        order = rows[torch.from_numpy(generator.permutation(len(rows)))]
        for some in torch.split(order, batch_size):
            yield features[some].to(device), labels[some].to(device)


def fit_heads(
    batches: Batches,
    total: int,
    learning_rates: Sequence[float],
    standard: Standardisation,
    num_classes: int,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
) -> list[nn.Linear]:
    """One linear classifier per learning rate, all fitted to the same batches.

    Args:
        batches: what they learn from.
        total: how many batches that is.
        learning_rates: the highest of each cosine; of none the batches are only gone through.
        standard: maps features first; on the batches' device.
        num_classes: K.
        weight_decay: of weights, not of biases.
        momentum: Nesterov's.

    Returns:
        Classifiers of standardised features, in the order of the learning rates; one that diverged is not finite.
    """
    if not learning_rates:
        for _ in batches:  # other processes may count on this one's part of them
            pass
        return []
    device = standard.mean.device
    heads = [nn.Linear(len(standard.mean), num_classes, device=device) for _ in learning_rates]
    groups = []
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        groups.append({"params": [head.weight], "weight_decay": weight_decay})
        groups.append({"params": [head.bias], "weight_decay": 0.0})
    optimiser = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=momentum > 0)
    rates = [rate for rate in learning_rates for _ in range(2)]
    for update, (features, labels) in enumerate(batches):
        inputs = standard(features)
        # The heads share no weights: the gradient of the sum is each one's own.
        loss = torch.stack([functional.cross_entropy(head(inputs), labels) for head in heads]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = warmup_cosine(update, peak=rate, warmup=0, total=total)
        optimiser.step()
    return heads


@torch.no_grad()
def head_accuracy(head: nn.Linear, standard: Standardisation, features: Tensor, labels: Tensor) -> Accuracy:
    """How often a classifier is right.

    Args:
        head: of `fit_heads`.
        standard: the map it was fitted with.
        features: [N, D], N at least 1; perhaps mapped from disk, read in chunks.
        labels: int64 [N].

    Returns:
        The shares; those of a classifier that is not finite are 0.
    """
    device = standard.mean.device
    chunks = zip(torch.split(features, _CHUNK), torch.split(labels, _CHUNK), strict=True)
    return accuracy((head(standard(chunk.to(device))), truth.to(device)) for chunk, truth in chunks)


class Probe(NamedTuple):
    """A classifier and how it was found.

    Attributes:
        head: of standardised features.
        standard: the map to them.
        learning_rate: the chosen one.
        sweep: by learning rate, top-1 on the held-out images; empty where there was nothing to choose.
    """

    head: nn.Linear
    standard: Standardisation
    learning_rate: float
    sweep: dict[float, float]


def fit_probe(
    stream: Callable[[Tensor, str], tuple[Batches, int]],
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    learning_rates: Sequence[float],
    held_out_share: float,
    split: np.random.Generator,
    standard: Standardisation,
    groups: Tensor | None = None,
    weight_decay: float = 0.0,
    processes: Processes = Processes(),  # noqa: B008 (immutable)
) -> Probe:
    """Choose the learning rate on images held out of the training set, then fit on all of it.

    Several processes share out the learning rates of the sweep; the last fit is the same in each.

    Args:
        stream: maps int64 [M], the training images to learn from, and a name for the random numbers to batches and
            their number: of frozen features, or of features of augmented images.
        features: [N, D], of the training images as they are, N at least 2.
        labels: int64 [N].
        num_classes: K.
        learning_rates: at least one, above 0.
        held_out_share: of the training images, to choose by.
        split: draws these.
        groups: int64 [N], of near copies, which are not parted; None if each image stands for itself.
        standard: see `standardisation`; on the device of the batches.
        weight_decay: of weights.
        processes: this one among all.

    Raises:
        RunFailed: the final classifier is not finite.
    """
    rates, sweep = sorted(set(learning_rates)), dict[float, Accuracy]()
    if len(rates) > 1:
        learn, judge = held_out(len(labels), held_out_share, split, groups)
        own = rates[processes.rank :: processes.world_size]
        heads = fit_heads(*stream(learn, "sweep"), own, standard, num_classes, weight_decay=weight_decay)
        found = [head_accuracy(head, standard, features[judge], labels[judge]) for head in heads]
        for theirs in gather_to_all(dict(zip(own, found, strict=True))):
            sweep |= theirs
    chosen = max(rates, key=lambda rate: sweep[rate].rank) if sweep else rates[0]
    everything = torch.arange(len(labels))
    (head,) = fit_heads(*stream(everything, "fit"), [chosen], standard, num_classes, weight_decay=weight_decay)
    if not bool(torch.isfinite(head.weight).all() & torch.isfinite(head.bias).all()):
        raise RunFailed(f"the linear classifier diverged at learning rate {chosen:g}: give smaller --learning-rates")
    return Probe(head, standard, chosen, {rate: sweep[rate].top1 for rate in rates if rate in sweep})
