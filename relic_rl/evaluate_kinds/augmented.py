"""Augmented training images of an evaluation, as an encoder takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from relic_rl.evaluate_kinds.opening import Evaluation
from relic_rl.images.batches import BatchPlan, ImageSource
from relic_rl.images.folder import FolderSource
from relic_rl.images.memory import MemorySource
from relic_rl.images.splits import MemorySplit
from relic_rl.representation.view_recipes import ViewRecipe, view_draws
from relic_rl.runtime.errors import BadInput

CROPS = ViewRecipe(jitter=0.0, grey=0.0, blur=0.0)
"""Random resized crops (areas 0.08 to 1, shapes 3/4 to 4/3) and mirroring: what linear evaluation trains on."""
WHOLE = dataclasses.replace(CROPS, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0)
"""The image as it is."""


def recipe_for(augmentation: str, source: str) -> ViewRecipe:
    """What ``--augmentation`` means for a kind of data.

    Args:
        augmentation: "crops", "none" or "auto": crops for class folders alone.
        source: see `Splits`.
    """
    crops = augmentation == "crops" or (augmentation == "auto" and source == "class folders")
    return CROPS if crops else WHOLE


def training_batches(
    evaluation: Evaluation,
    label: str,
    rows: NDArray[np.int64],
    recipe: ViewRecipe,
    *,
    batch_size: int,
    epochs: int,
    stream: str,
) -> tuple[Iterator[tuple[Tensor, Tensor]], int]:
    """Batches of augmented training images, and their number.

    Args:
        evaluation: whose training images, encoder and random numbers are used.
        label: the label that comes along.
        rows: int64 [M], images of the training split, all of them with this label.
        recipe: the augmentation.
        batch_size: B, images of a batch over all processes; M, if it is less. The last, smaller batch of an epoch is
            left out.
        epochs: passes.
        stream: name of the random numbers.

    Returns:
        An iterator over this process's part of each batch: images float32 [B / R, C', size, size] in [0, 1] and labels
        int64 [B / R], on the device.

    Raises:
        BadInput: fewer images than processes.
    """
    rank, world_size = evaluation.processes.rank, evaluation.processes.world_size
    batch_size = min(batch_size, len(rows)) // world_size * world_size
    if not batch_size:
        raise BadInput(f"{len(rows)} images to learn {label} from are too few for {world_size} processes: start fewer")
    order = evaluation.streams.integer(f"{stream} order")
    plan = BatchPlan(len(rows), batch_size, order, start=0, stop=0, rank=rank, world_size=world_size)
    plan = dataclasses.replace(plan, stop=epochs * plan.per_epoch)
    key = evaluation.streams.integer(f"{stream} views")
    size, device = evaluation.encoder.image_size, evaluation.device
    views = dataclasses.replace(evaluation.encoder.views, recipes=(recipe,), sizes=(size,))
    source = _source(evaluation, label, rows, recipe, key)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in source.batches(plan):
            images = batch.images if isinstance(batch.images, Tensor) else batch.images[0]
            images = images.to(device, non_blocking=True)
            draws = view_draws(key, batch.number, 1, batch_size, plan.rows)
            # Files come cropped already.
            (view,) = views(images if isinstance(batch.images, Tensor) else [images], draws)
            yield view, batch.labels.to(device, non_blocking=True)

    return batches(), len(plan)


def _source(evaluation: Evaluation, label: str, rows: NDArray[np.int64], recipe: ViewRecipe, key: int) -> ImageSource:
    size, pin = evaluation.encoder.image_size, evaluation.device.type == "cuda"
    split = evaluation.splits["train"]
    if isinstance(split, MemorySplit):
        images = dataclasses.replace(split.images.take(rows), primary=label)
        return MemorySource(images, images, pin_memory=pin)
    options = evaluation.options
    folder = FolderSource(
        Path(options.data), [recipe], [size], eval_size=size, key=key, workers=options.workers, pin_memory=pin
    )
    return folder.restricted(rows)
