"""``relic_rl.evaluate finetune``: the whole encoder trained with a share of the labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relic_rl.evaluate_kinds.augmented import recipe_for, training_batches
from relic_rl.evaluate_kinds.finetune_options import Options
from relic_rl.evaluate_kinds.labels import any_known, usable_labels
from relic_rl.evaluate_kinds.linear import choice
from relic_rl.evaluate_kinds.opening import Evaluation, open_evaluation
from relic_rl.evaluation.accuracy import Accuracy, accuracy
from relic_rl.evaluation.finetune import Classifier, labelled_share, train_classifier
from relic_rl.evaluation.held_out import held_out
from relic_rl.runtime.errors import RunFailed
from relic_rl.runtime.precision import autocast


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such data, encoder or label.
        RunFailed: training diverged at the chosen learning rate.
    """
    with open_evaluation("finetune", options) as evaluation:
        train = evaluation.splits["train"]
        names = evaluation.splits.label_names(options.label)
        metrics: dict[str, float | None] = {}
        details: dict[str, Any] = {}
        for label in usable_labels(names, train.labels, options.label, evaluation.note):
            for share in sorted(set(options.shares)):
                labels = f"{100 * share:g} % of labels"
                tuning = _Tuning(options, evaluation, label, share)
                found, chosen, sweep = tuning.tune()
                about = choice(evaluation, f"{label}, {labels}", chosen, sweep)
                details[f"{label}/{labels}"] = {"labelled_images": len(tuning.rows)} | about
                for split, result in found.items():
                    metrics[f"{label}/{split}/{labels}/top1"] = result.top1 if result else None
                    if evaluation.splits.num_classes[label] > 5:
                        metrics[f"{label}/{split}/{labels}/top5"] = result.top5 if result else None
        return evaluation.finish(metrics, details)


class _Tuning:
    """Fine-tuning with one share of one label."""

    def __init__(self, options: Options, evaluation: Evaluation, label: str, share: float) -> None:
        self.options = options
        self.evaluation = evaluation
        self.label = label
        self.share = share
        values = evaluation.splits["train"].labels[label]
        known = np.flatnonzero(values >= 0)
        seed = evaluation.streams.seed_sequence(f"{label} labelled share")
        self.rows = known[labelled_share(torch.from_numpy(values[known]), share, seed).numpy()]

    def tune(self) -> tuple[dict[str, Accuracy | None], float, dict[float, float]]:
        """Accuracy on each test split, the chosen learning rate, and what it was chosen by."""
        splits, rates = self.evaluation.splits, self.options.rates
        sweep: dict[float, Accuracy] = {}
        if len(rates) > 1:
            generator = self.evaluation.streams.numpy(f"{self.label} {self.share} held out")
            copies = splits["train"].groups
            groups = None if copies is None else torch.from_numpy(copies[self.rows])
            learn, judge = (
                self.rows[part.numpy()] for part in held_out(len(self.rows), self.options.held_out, generator, groups)
            )
            for rate in rates:
                trained = self._train(learn, rate, "sweep")
                sweep[rate] = self._judge(trained, "train", judge)
        chosen = max(rates, key=lambda rate: sweep[rate].rank) if sweep else rates[0]
        trained = self._train(self.rows, chosen, "fit")
        if not trained.is_finite():
            raise RunFailed(f"fine-tuning diverged at learning rate {chosen:g}: give smaller --learning-rates")
        known = torch.from_numpy(splits["train"].labels[self.label][self.rows])
        found: dict[str, Accuracy | None] = {}
        for name in splits.tests:
            truth = splits[name].labels[self.label]
            sensible = any_known(torch.from_numpy(truth), known)
            found[name] = self._judge(trained, name, np.flatnonzero(truth >= 0)) if sensible else None
        return found, chosen, {rate: result.top1 for rate, result in sweep.items()}

    def _train(self, rows: NDArray[np.int64], rate: float, stream: str) -> Classifier:
        """A classifier trained on some images, from the encoder as it was given."""
        evaluation, options = self.evaluation, self.options
        encoder = evaluation.encoder.module
        twin = copy.deepcopy(encoder).requires_grad_(True)
        classifier = Classifier(twin, encoder.feature_dim, evaluation.splits.num_classes[self.label])
        batches, total = training_batches(
            evaluation,
            self.label,
            rows,
            recipe_for(options.augmentation, evaluation.splits.source),
            batch_size=options.train_batch_size,
            epochs=options.epochs,
            stream=f"{self.label} {self.share} {stream}",
        )

        def told() -> Iterator[tuple[Tensor, Tensor]]:
            for update, batch in enumerate(batches):
                yield batch
                evaluation.progress(f"{self.label}, {100 * self.share:g} %, {stream} {rate:g}", update + 1, total)

        train_classifier(
            classifier.to(evaluation.device),
            told(),
            total,
            learning_rate=rate,
            optimiser=options.optimiser,
            weight_decay=options.weight_decay,
            device=evaluation.device,
            dtype=evaluation.dtype,
        )
        return classifier

    def _judge(self, classifier: Classifier, split: str, rows: NDArray[np.int64]) -> Accuracy:
        """How often a classifier is right on some images of a split, shown as they are."""
        evaluation = self.evaluation
        images = evaluation.splits[split]

        def logits() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in images.batches(evaluation.options.batch_size, rows):
                with torch.no_grad(), autocast(evaluation.device, evaluation.dtype):
                    found = classifier(evaluation.prepare(batch.images.to(evaluation.device)))
                truth = torch.from_numpy(images.labels[self.label][batch.rows])
                yield found.float(), truth.to(evaluation.device)

        return accuracy(logits())
