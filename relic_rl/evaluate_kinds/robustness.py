"""``relic_rl.evaluate robustness``: what is left of the linear classifier's accuracy on unusual images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from relic_rl.evaluate_kinds.labels import any_known, usable_labels
from relic_rl.evaluate_kinds.linear import choice, fit_classifier
from relic_rl.evaluate_kinds.opening import Evaluation, open_evaluation
from relic_rl.evaluate_kinds.robustness_options import Options
from relic_rl.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt_batch
from relic_rl.evaluation.features import stream_features
from relic_rl.evaluation.figures import metric_bars, new_figure
from relic_rl.evaluation.linear import Probe, head_accuracy
from relic_rl.evaluation.robustness import Errors, Hits, count_hits, mean_corruption_error, mean_error
from relic_rl.images.imagenet import imagenet_wnids
from relic_rl.images.imagenet_variants import Variant, imagenet_c_folders, imagenet_c_split, open_variant
from relic_rl.images.splits import Split, SplitBatch
from relic_rl.runtime.errors import RunFailed, user_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Metrics = dict[str, float | None]
_CORRUPTION_ERRORS = "corruption_errors"
"""In a result's details: by source and corruption, the error at each severity."""


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such data, encoder or label, or a data set in another layout.
    """
    with open_evaluation("robustness", options) as evaluation:
        splits = evaluation.splits
        (label,) = usable_labels(
            splits.label_names(options.label), splits["train"].labels, options.label, evaluation.note
        )
        with user_errors():  # before the work: whatever is wrong with a data set
            variants = _open_variants(options, evaluation)
            folders = {} if options.imagenet_c is None else imagenet_c_folders(Path(options.imagenet_c), [*CORRUPTIONS])
        train = evaluation.features("train")
        probe = fit_classifier(options, evaluation, label, train)
        metrics: Metrics = {}
        details: dict[str, Any] = {"label": label} | choice(evaluation, label, probe.learning_rate, probe.sweep)
        for name in splits.tests:
            asked, truth = evaluation.features(name).labelled(label)
            known = any_known(truth, train.labelled(label)[1])
            found = head_accuracy(probe.head, probe.standard, asked, truth) if known else None
            metrics[f"{name}/top1"] = found.top1 if found else None
            if train.num_classes[label] > 5:
                metrics[f"{name}/top5"] = found.top5 if found else None
        errors: dict[str, Errors] = {}
        if folders:
            errors["imagenet-c"] = _imagenet_c(options, evaluation, probe, folders)
            metrics |= _corruption_metrics(evaluation, errors["imagenet-c"], metrics["test/top1"])
        if options.corrupts:
            errors["own"], images = _own_corruptions(options, evaluation, probe, label)
            details["corrupted_images"] = images
            metrics["own corruptions/mean error"] = mean_error(errors["own"])
        for name, variant in variants.items():
            hits = count_hits(
                _classified(evaluation, probe, variant, name), torch.from_numpy(variant.accepted).to(evaluation.device)
            )
            metrics |= _variant_metrics(name, variant, hits)
            details[name] = hits._asdict() | {
                "classes": variant.classes,
                "classes_without_a_training_class": variant.unknown,
                "among": "the data set's classes" if variant.among_own else "all classes",
                "images_fingerprint": variant.split.identity,
                "broken_files": dict(sorted(variant.split.broken.items())),
            }
        details[_CORRUPTION_ERRORS] = errors
        figures = {"metrics": metric_bars({evaluation.name: {name: (value, None) for name, value in metrics.items()}})}
        return evaluation.finish(metrics, details, figures=figures | _figures([(evaluation.name, errors)]))


def compare_figures(results: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Errors under corruption of several encoders side by side; seeds of one encoder are averaged.

    Args:
        results: contents of result.json.
    """
    return _figures([(result["name"], _errors_of(result)) for result in results])


def _errors_of(result: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The errors that a result holds, by source and corruption; those that are unsound are passed over."""
    details = result.get("details")
    sources = details.get(_CORRUPTION_ERRORS) if isinstance(details, dict) else None
    found: dict[str, dict[str, list[float]]] = {}
    for source, table in sources.items() if isinstance(sources, dict) else ():
        for corruption, row in table.items() if isinstance(table, dict) else ():
            if isinstance(row, list) and row and all(type(error) in (int, float) for error in row):
                found.setdefault(source, {})[corruption] = row
    return found


def _open_variants(options: Options, evaluation: Evaluation) -> dict[str, Variant]:
    opened = {}
    for name, folder in options.variants.items():
        size, classes = evaluation.encoder.image_size, evaluation.splits.classes
        variant = open_variant(name, Path(folder), size, classes, workers=options.workers)
        if variant.unknown:
            evaluation.note(
                f"{name}: {variant.unknown} classes without a training class are left out, {variant.classes} remain"
            )
        opened[name] = variant
    return opened


def _logits(evaluation: Evaluation, probe: Probe, batches: Iterator[SplitBatch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits [B, C], on the device, and rows int64 [B] of batches of images; nothing is kept."""
    with torch.no_grad():
        for features, rows in stream_features(
            evaluation.encoder.module, batches, evaluation.prepare, evaluation.device, evaluation.dtype
        ):
            yield probe.head(probe.standard(features)), torch.from_numpy(rows)


def _classified(evaluation: Evaluation, probe: Probe, variant: Variant, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and the data set's classes, for `count_hits`."""
    targets = torch.from_numpy(variant.targets)
    seen = 0
    for logits, rows in _logits(evaluation, probe, variant.split.batches(evaluation.options.batch_size)):
        yield logits, targets[rows].to(evaluation.device)
        seen += len(rows)
        evaluation.progress(f"{name}, images", seen, len(variant.split))
    if not seen:
        raise RunFailed(f"none of the images of {name} can be used")


def _error(evaluation: Evaluation, probe: Probe, split: Split, truth: Tensor, what: str) -> float:
    """Top-1 error on a split; truth int64 [N]."""
    wrong = seen = 0
    for logits, rows in _logits(evaluation, probe, split.batches(evaluation.options.batch_size)):
        wrong += int((logits.argmax(dim=1).cpu() != truth[rows]).sum())
        seen += len(rows)
        evaluation.progress(f"{what}, images", seen, len(split))
    if not seen:
        raise RunFailed(f"none of the images of {what} can be used")
    return wrong / seen


def _imagenet_c(
    options: Options, evaluation: Evaluation, probe: Probe, folders: Mapping[str, Mapping[int, Path]]
) -> Errors:
    """Errors on ImageNet-C's files, by corruption, in the order of severities."""
    size, classes = evaluation.encoder.image_size, evaluation.splits.classes
    errors: dict[str, list[float]] = {}
    for name, severities in folders.items():
        errors[name] = []
        for severity, folder in severities.items():
            with user_errors():
                split = imagenet_c_split(folder, size, classes, workers=options.workers)
            truth = torch.from_numpy(split.labels[evaluation.splits.primary])
            errors[name].append(_error(evaluation, probe, split, truth, f"ImageNet-C {name} {severity}"))
    return errors


def _corruption_metrics(evaluation: Evaluation, errors: Errors, clean: float | None) -> Metrics:
    """The metrics of ImageNet-C; mCE only of all of it and for a classifier of ImageNet's classes, as AlexNet is."""
    metrics: Metrics = {"imagenet-c/mean error": mean_error(errors)}
    metrics["imagenet-c/mCE"] = metrics["imagenet-c/relative mCE"] = None
    lacking = [name for name in CORRUPTIONS if len(errors.get(name, ())) < len(SEVERITIES)]
    if lacking:
        evaluation.note(f"no mCE: ImageNet-C is incomplete in {', '.join(lacking)}")
    elif set(evaluation.splits.classes) != set(imagenet_wnids()):
        evaluation.note("no mCE: AlexNet's errors, by which it is divided, are those on ImageNet's 1,000 classes")
    elif clean is not None:
        found = mean_corruption_error(errors, 1 - clean)
        metrics["imagenet-c/mCE"], metrics["imagenet-c/relative mCE"] = found.mce, found.relative_mce
    return metrics


def _own_corruptions(
    options: Options, evaluation: Evaluation, probe: Probe, label: str
) -> tuple[dict[str, list[float]], int]:
    """Errors on test images that are corrupted here, each decoded once; and how many images these are."""
    split = evaluation.splits["test"]
    labels = split.labels[label]
    known = np.flatnonzero(labels >= 0)
    if len(known) > options.num_corrupted:  # evenly from all of them: files are sorted by class
        known = known[np.linspace(0, len(known) - 1, options.num_corrupted).round().astype(np.int64)]
    truth = torch.from_numpy(labels)
    cases = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    wrong, seen = dict.fromkeys(cases, 0), 0
    with ThreadPoolExecutor(max(1, options.workers)) as pool:
        for batch in split.batches(options.batch_size, known):
            pixels = batch.images.numpy()
            for name, severity in cases:
                images = torch.from_numpy(corrupt_batch(pixels, name, severity, pool=pool))
                for logits, rows in _logits(evaluation, probe, iter([SplitBatch(images, batch.rows)])):
                    wrong[name, severity] += int((logits.argmax(dim=1).cpu() != truth[rows]).sum())
            seen += len(batch.rows)
            evaluation.progress("corrupted images", seen, len(known))
    if not seen:
        raise RunFailed("none of the test images can be used")
    return {name: [wrong[name, severity] / seen for severity in SEVERITIES] for name in CORRUPTIONS}, seen


def _variant_metrics(name: str, variant: Variant, hits: Hits) -> Metrics:
    """The metrics of a data set, by its own rule; the other rule's counts are among the details."""
    top1, top5 = (hits.own_top1, hits.own_top5) if variant.among_own else (hits.top1, hits.top5)
    metrics: Metrics = {f"{name}/top1": top1 / hits.images}
    candidates = int(variant.accepted.any(axis=0).sum()) if variant.among_own else variant.accepted.shape[1]
    if candidates > 5:
        metrics[f"{name}/top5"] = top5 / hits.images
    return metrics


def _figures(encoders: Sequence[tuple[str, Mapping[str, Errors]]]) -> dict[str, Figure]:
    """Of each source of corrupted images the error by corruption, and over severities.

    Args:
        encoders: name and errors by source; those of one name are averaged.
    """
    figures: dict[str, Figure] = {}
    for source in dict.fromkeys(source for _, errors in encoders for source in errors):
        tables: dict[str, list[Errors]] = {}
        for name, errors in encoders:
            if source in errors:
                tables.setdefault(name, []).append(errors[source])
        title = "imagenet-c" if source == "imagenet-c" else "own-corruptions"
        figures[title] = metric_bars(
            {
                name: {
                    corruption: (float(np.mean([np.mean(table[corruption]) for table in of_name])), None)
                    for corruption in CORRUPTIONS
                    if all(corruption in table for table in of_name)
                }
                for name, of_name in tables.items()
            }
        )
        figures[f"{title}-severities"] = _severities(tables)
    return figures


def _severities(tables: Mapping[str, Sequence[Errors]]) -> Figure:
    """Mean error of all corruptions that have all severities, over severities, a line for each encoder."""
    figure = new_figure()
    panel = figure.subplots()
    for name, of_name in tables.items():
        rows = [row for table in of_name for row in table.values() if len(row) == len(SEVERITIES)]
        if rows:
            panel.plot(SEVERITIES, np.mean(rows, axis=0), marker="o", label=name.replace("$", r"\$").lstrip("_") or "-")
    panel.set_xticks(SEVERITIES)
    panel.set_xlabel("severity")
    panel.set_ylabel("top-1 error, mean of the corruptions")
    panel.grid(alpha=0.3)
    if panel.get_lines():
        panel.legend(fontsize="small")
    return figure
