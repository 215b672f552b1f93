"""``relic_rl.evaluate state``: linear probes of what annotated bytes of Atari games' memory say."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from relic_rl.evaluate_kinds.opening import Evaluation, open_evaluation
from relic_rl.evaluate_kinds.state_options import Options
from relic_rl.evaluation.features import FeatureSet
from relic_rl.evaluation.figures import metric_bars
from relic_rl.evaluation.report import markdown_table, show
from relic_rl.evaluation.state import (
    CATEGORIES,
    Labels,
    Summary,
    choose_and_fit,
    entropy,
    f1_scores,
    macro_f1,
    summarize_variables,
    varied,
)
from relic_rl.images.atari_frames import parse_games
from relic_rl.images.ram_labels import annotated_games
from relic_rl.images.splits import Split
from relic_rl.runtime.errors import BadInput, RunFailed, user_errors

_LEAST_FRAMES = 10  # of a game, to fit and to judge probes by
_CHUNK = 256  # images at a time


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such game or encoder, or no game that anybody has annotated.
    """
    with user_errors():
        games = parse_games(options.games)
    annotated = [game for game in games if game.replace("_", "") in annotated_games()]
    if not annotated:
        known = ", ".join(sorted(annotated_games()))
        raise BadInput(f"--games {' '.join(games)}: nobody has annotated their memory; take some of {known}")
    left = [game for game in games if game not in annotated]
    options = dataclasses.replace(options, games=tuple(annotated))
    with open_evaluation("state", options) as evaluation:
        if left:
            evaluation.note(f"left out, since nobody has annotated their memory: {', '.join(left)}")
        train = evaluation.features("train")
        test = evaluation.features("test")
        fresh = _fresh(evaluation.splits["test"], evaluation.splits["train"])[test.rows.numpy()]
        found: dict[str, Summary] = {}
        details: dict[str, Any] = {}
        left_out: dict[str, str] = dict.fromkeys(left, "nobody has annotated its memory")
        for number, game in enumerate(annotated):
            here, there = (part.labels["game"].numpy() == number for part in (train, test))
            seen = int((there & ~fresh).sum())
            there &= fresh
            if min(here.sum(), there.sum()) < _LEAST_FRAMES:
                left_out[game] = f"{here.sum():,} training and {there.sum():,} test frames, {seen:,} left out as seen"
                evaluation.note(f"{game}: left out: {left_out[game]}")
                continue
            judged = _probe_game(options, evaluation, game, train, here, test, there)
            details[game] = judged | {"test_frames_seen_in_training": seen}
            if judged["left_out"]:
                evaluation.note(f"{game}: left out, since they vary too little: {', '.join(judged['left_out'])}")
            scores = {name: values["f1"] for name, values in judged["variables"].items()}
            if scores:
                found[game] = summarize_variables(scores)
            else:
                left_out[game] = "no variable varies enough"
                evaluation.note(f"{game}: left out: {left_out[game]}")
        if not found:
            raise RunFailed(
                "no game shows enough to probe: raise --num-images and --num-test-images, or see --policies"
            )
        metrics = _metrics(found)
        return evaluation.finish(
            metrics,
            {"games": details, "games_left_out": left_out},
            table=_table(evaluation.name, found, details),
            figures={
                "metrics": metric_bars({evaluation.name: {name: (value, None) for name, value in metrics.items()}})
            },
        )


def _probe_game(
    options: Options,
    evaluation: Evaluation,
    game: str,
    train: FeatureSet,
    here: NDArray[np.bool_],
    test: FeatureSet,
    there: NDArray[np.bool_],
) -> dict[str, Any]:
    """Fit and judge the probes of one game; here bool [N] and there bool [M] are its frames."""
    prefix = f"{game}."
    names = [name.removeprefix(prefix) for name in train.labels if name.startswith(prefix)]
    learn, judge = (
        {name: part.labels[prefix + name].numpy()[rows] for name in names}
        for part, rows in ((train, here), (test, there))
    )
    entropies = {
        name: {"training_entropy": entropy(learn[name]), "test_entropy": entropy(judge[name])} for name in names
    }
    kept = varied(learn, judge, least=options.least_entropy)
    rows = torch.from_numpy(here)
    episodes = None if train.groups is None else train.groups[rows]
    about: dict[str, Any] = {
        "training_frames": int(here.sum()),
        "training_episodes": None if episodes is None else len(np.unique(episodes.numpy())),
        "test_frames": int(there.sum()),
        "left_out": {name: entropies[name] for name in names if name not in kept},
        "variables": {},
    }
    if not kept:
        return about
    evaluation.note(f"{game}: probing {len(kept)} variables on {here.sum():,} frames")
    labels: Labels = {name: learn[name] for name in kept}
    fitted = choose_and_fit(
        train.features[rows].to(evaluation.device),
        labels,
        episodes,
        evaluation.streams.numpy(f"{game} held out"),
        penalties=options.penalties,
        iterations=options.iterations,
    )
    features = test.features[torch.from_numpy(there)].to(evaluation.device)
    scores = f1_scores(fitted.probes, features, {name: judge[name] for name in kept})
    about["penalty"], about["held_out_f1"] = fitted.penalty, fitted.held_out_f1
    about["penalty_at_the_edge"] = evaluation.at_the_edge(game, "penalties", fitted.penalty, fitted.held_out_f1)
    about["variables"] = {
        name: {"f1": scores[name], "majority_f1": _majority(learn[name], judge[name])} | entropies[name]
        for name in kept
    }
    return about


def _majority(learn: NDArray[np.int64], judge: NDArray[np.int64]) -> float:
    """Macro F1 of always saying the value that is most frequent in training: what knowing nothing gives."""
    values, counts = np.unique(learn, return_counts=True)
    return macro_f1(judge, np.full(len(judge), values[counts.argmax()]))


def _fresh(test: Split, train: Split) -> NDArray[np.bool_]:
    """Which test frames, bool [M], are not to the pixel among the training frames.

    Games begin alike, so that episodes share frames; AtariARI leaves such test frames out too.
    """

    def digests(split: Split) -> Iterator[bytes]:
        for batch in split.batches(_CHUNK):
            for image in batch.images.numpy():
                yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()

    seen = set(digests(train))
    return np.array([digest not in seen for digest in digests(test)])


def _metrics(found: dict[str, Summary]) -> dict[str, float | None]:
    """Means over games first, then each game's."""
    metrics: dict[str, float | None] = {"f1": statistics.fmean(summary.mean for summary in found.values())}
    for category in CATEGORIES:
        of_games = [summary.by_category[category] for summary in found.values() if category in summary.by_category]
        if of_games:
            metrics[f"{category}/f1"] = statistics.fmean(of_games)
    for game, summary in found.items():
        metrics[f"{game}/f1"] = summary.mean
        metrics[f"{game}/categories/f1"] = summary.over_categories
    return metrics


def _table(name: str, found: dict[str, Summary], details: dict[str, Any]) -> str:
    """A row per game, a column per category; what each score rests on, since it depends on that."""
    metrics = _metrics(found)
    rows = []
    for game, summary in found.items():
        about = details[game]
        counts = [f"{about['training_frames']:,}", f"{about['test_frames']:,}", str(len(about["variables"]))]
        by_category = (show(summary.by_category.get(category)) for category in CATEGORIES)
        rows.append([game, *counts, show(summary.mean), *by_category])
    means = (show(metrics.get(f"{category}/f1")) for category in CATEGORIES)
    rows.append(["mean over games", "", "", "", show(metrics["f1"]), *means])
    header = [f"macro F1, {name}", "training frames", "test frames", "variables", "all variables"]
    return markdown_table([*header, *(category.replace("_", " ") for category in CATEGORIES)], rows)
