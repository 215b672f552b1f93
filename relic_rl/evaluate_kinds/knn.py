"""``relic_rl.evaluate knn``: nearest neighbours on frozen features."""

from __future__ import annotations

from relic_rl.evaluate_kinds.knn_options import Options
from relic_rl.evaluate_kinds.labels import any_known, usable_labels
from relic_rl.evaluate_kinds.opening import open_evaluation
from relic_rl.evaluation.knn import knn_predict
from relic_rl.runtime.errors import BadInput


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such data, encoder or label, or more neighbours than training images.
    """
    with open_evaluation("knn", options) as evaluation:
        splits = evaluation.splits
        names = splits.label_names(options.label)
        labels = usable_labels(names, splits["train"].labels, options.label, evaluation.note)
        train = evaluation.features("train")
        if max(options.k) > len(train):
            raise BadInput(f"--k {max(options.k)} is more than the {len(train)} training images: give fewer, such as 5")
        tests = {name: evaluation.features(name) for name in splits.tests}
        metrics: dict[str, float | None] = {}
        for label in labels:
            reference, known = (part.to(evaluation.device) for part in train.labelled(label))
            for split, features in tests.items():
                asked, truth = (part.to(evaluation.device) for part in features.labelled(label))
                for k in options.k:
                    predicted = knn_predict(
                        reference, known, asked, train.num_classes[label], k=k, temperature=options.temperature
                    )
                    hits = int((predicted == truth).sum())
                    metrics[f"{label}/{split}/k={k}"] = hits / len(truth) if any_known(truth, known) else None
        return evaluation.finish(metrics, {"training_images": len(train)})
