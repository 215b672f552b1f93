"""Nearest neighbours on frozen features: the quickest judge of a representation, with nothing to tune.

Source: Wu et al., 2018 (arXiv 1805.01978), section 3.4: weights exp(cos / 0.07), the practice since.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.evaluation.features import stream_features
from relic_rl.images.splits import Sample

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
def knn_accuracy(
    encoder: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    reference: Sample,
    test: Sample,
    num_classes: int,
    device: torch.device,
    *,
    k: int = 20,
    chunk: int = 256,
) -> float | None:
    """Share of test images whose nearest reference images vote for their label.

    Images are streamed: a chunk of them is in memory at a time, and each is decoded once.

    Args:
        encoder: on the device; in evaluation mode meanwhile, its mode is put back afterwards.
        prepare: makes a chunk of images, uint8 [N, C, H, W], what the encoder takes.
        reference: labelled images that vote.
        test: labelled images that are asked about.
        num_classes: values of their label.
        device: the encoder's.
        k: neighbours that vote.
        chunk: images at a time.

    Returns:
        The share; None where no image of either sample can be used.
    """

    def features(sample: Sample) -> tuple[Tensor, Tensor]:
        stream = stream_features(encoder, sample.split.batches(chunk, sample.rows), prepare, device)
        parts = [(found, torch.from_numpy(sample.split.labels[sample.label][rows])) for found, rows in stream]
        if not parts:
            return torch.empty(0), torch.empty(0)
        return torch.cat([part for part, _ in parts]), torch.cat([labels for _, labels in parts]).to(device)

    training = encoder.training
    encoder.eval()
    try:
        (known, labels), (asked, truth) = features(reference), features(test)
    finally:
        encoder.train(training)
    if not len(labels) or not len(truth):
        return None
    predicted = knn_predict(known, labels, asked, num_classes, k=k)
    return float((predicted == truth).float().mean())
