"""``relic_rl.evaluate linear``: linear evaluation of frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from relic_rl.evaluate_kinds.augmented import WHOLE, recipe_for, training_batches
from relic_rl.evaluate_kinds.labels import any_known, usable_labels
from relic_rl.evaluate_kinds.linear_options import Options
from relic_rl.evaluate_kinds.opening import Evaluation, open_evaluation
from relic_rl.evaluation.features import FeatureSet
from relic_rl.evaluation.linear import (
    Batches,
    Probe,
    feature_batches,
    fit_probe,
    head_accuracy,
    standardisation,
)
from relic_rl.representation.gather import gather_rows
from relic_rl.runtime.distributed import launched_processes
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.precision import autocast


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Several processes, started by torchrun, encode the images together.

    Raises:
        BadInput: no such data, encoder or label, or batches that do not split over the processes.
    """
    processes = launched_processes()
    if options.train_batch_size % processes.world_size:
        raise BadInput(
            f"--train-batch-size {options.train_batch_size} does not split over {processes.world_size} processes: "
            f"give a multiple of {processes.world_size}"
        )
    with open_evaluation("linear", options, processes=processes) as evaluation:
        splits = evaluation.splits
        names = splits.label_names(options.label)
        labels = usable_labels(names, splits["train"].labels, options.label, evaluation.note)
        train = evaluation.features("train")
        tests = {name: evaluation.features(name) for name in splits.tests}
        metrics: dict[str, float | None] = {}
        details: dict[str, Any] = {}
        for label in labels:
            probe = fit_classifier(options, evaluation, label, train)
            details[label] = choice(evaluation, label, probe.learning_rate, probe.sweep)
            _, known = train.labelled(label)
            for split, features in tests.items():
                asked, truth = features.labelled(label)
                found = head_accuracy(probe.head, probe.standard, asked, truth) if any_known(truth, known) else None
                metrics[f"{label}/{split}/top1"] = found.top1 if found else None
                if train.num_classes[label] > 5:
                    metrics[f"{label}/{split}/top5"] = found.top5 if found else None
        return evaluation.finish(metrics, {"training_images": len(train), "labels": details})


def choice(evaluation: Evaluation, what: str, rate: float, sweep: Mapping[float, float]) -> dict[str, Any]:
    """How a learning rate was chosen, for ``result.json``; the user is told where a wider sweep may do better.

    Args:
        evaluation: tells the user.
        what: was fitted.
        rate: the chosen one.
        sweep: top-1 on held-out images by learning rate.
    """
    edge = evaluation.at_the_edge(what, "learning-rates", rate, sweep)
    return {"learning_rate": rate, "held_out_top1": sweep, "learning_rate_at_the_edge": edge}


def fit_classifier(options: Options, evaluation: Evaluation, label: str, train: FeatureSet) -> Probe:
    """The classifier of one label, fitted to the training images whose features are given."""
    recipe = recipe_for(options.augmentation, evaluation.splits.source)
    features, labels = train.labelled(label)
    images = train.rows[train.labels[label] >= 0]
    device, streams = evaluation.device, evaluation.streams

    def from_features(chosen: Tensor, name: str) -> tuple[Batches, int]:
        batches = feature_batches(
            features,
            labels,
            chosen,
            batch_size=options.train_batch_size,
            epochs=options.epochs,
            key=streams.integer(f"{label} {name} order"),
            device=device,
        )
        return batches, options.epochs * -(-len(chosen) // options.train_batch_size)

    def from_images(chosen: Tensor, name: str) -> tuple[Batches, int]:
        batches, total = training_batches(
            evaluation,
            label,
            images[chosen].numpy(),
            recipe,
            batch_size=options.train_batch_size,
            epochs=options.epochs,
            stream=f"{label} {name}",
        )

        def encoded() -> Iterator[tuple[Tensor, Tensor]]:
            for update, (views, truth) in enumerate(batches):
                with torch.no_grad(), autocast(device, evaluation.dtype):
                    inputs = evaluation.encoder.module(views).float()
                yield gather_rows(inputs), gather_rows(truth)
                evaluation.progress(f"{label}, {name}", update + 1, total)

        return encoded(), total

    return fit_probe(
        from_features if recipe == WHOLE else from_images,
        features,
        labels,
        train.num_classes[label],
        learning_rates=options.learning_rates,
        held_out_share=options.held_out,
        split=streams.numpy(f"{label} held out"),
        groups=None if train.groups is None else train.groups[train.labels[label] >= 0],
        standard=standardisation(features, identity=not options.standardise).to(device),
        weight_decay=options.weight_decay,
        processes=evaluation.processes,
    )
