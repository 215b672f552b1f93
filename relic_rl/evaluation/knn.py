"""Nearest neighbours on frozen features: the quickest judge of a representation, with nothing to tune.

Source: Wu et al., 2018 (arXiv 1805.01978), section 3.4: weights exp(cos / 0.07), the practice since.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.images.labelled import LabelledImages

TEMPERATURE = 0.07


@torch.no_grad()
def knn_predict(
    reference: Tensor,
    labels: Tensor,
    queries: Tensor,
    num_classes: int,
    *,
    k: int = 20,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """The class that the nearest reference features vote for.

    Args:
        reference: [R, D].
        labels: int64 [R], of the reference, from 0.
        queries: [Q, D].
        num_classes: values of the labels.
        k: neighbours that vote, at most R of them.
        temperature: a vote weighs exp(cosine / temperature).

    Returns:
        int64 [Q].
    """
    reference = functional.normalize(reference.float(), dim=1)
    predicted = [torch.empty(0, dtype=torch.int64, device=queries.device)]
    queries = functional.normalize(queries.float(), dim=1)
    for start in range(0, len(queries), 1024):
        chunk = queries[start : start + 1024]
        similarity, index = (chunk @ reference.T).topk(min(k, len(reference)), dim=1)
        votes = torch.zeros(len(chunk), num_classes, device=chunk.device)
        # The largest similarity is subtracted for safety; a common factor elects nobody else.
        votes.scatter_add_(1, labels[index], ((similarity - similarity[:, :1]) / temperature).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)


@torch.no_grad()
def extract_features(
    encoder: nn.Module, images: Tensor, prepare: Callable[[Tensor], Tensor], device: torch.device, *, chunk: int = 256
) -> Tensor:
    """Features [N, D], float32 on the device, of images [N, C, H, W]; the encoder in evaluation mode meanwhile.

    Args:
        encoder: its mode is put back afterwards.
        images: uint8, on the CPU.
        prepare: makes a chunk of images what the encoder takes.
        device: the encoder's.
        chunk: images at a time.
    """
    training = encoder.training
    encoder.eval()
    try:
        parts = [
            encoder(prepare(images[start : start + chunk].to(device))).float() for start in range(0, len(images), chunk)
        ]
    finally:
        encoder.train(training)
    return torch.cat(parts)


def knn_accuracy(
    encoder: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    reference: LabelledImages,
    test: LabelledImages,
    device: torch.device,
    *,
    k: int = 20,
) -> float:
    """Share of test images whose nearest reference images vote for their primary label.

    Args:
        encoder: on the device.
        prepare: makes a chunk of images, uint8 [N, C, H, W], what the encoder takes.
        reference: labelled images that vote.
        test: labelled images that are asked about, at least one.
        device: the encoder's.
        k: neighbours that vote.
    """

    def features(images: LabelledImages) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(images.images.copy())
        labels = torch.from_numpy(images.labels[images.primary].copy()).to(device)
        return extract_features(encoder, pixels, prepare, device), labels

    (known, labels), (asked, truth) = features(reference), features(test)
    predicted = knn_predict(known, labels, asked, reference.num_classes[reference.primary], k=k)
    return float((predicted == truth).float().mean())
