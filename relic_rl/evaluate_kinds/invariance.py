"""``relic_rl.evaluate invariance``: what interventions on the style do to a representation of held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relic_rl.data_options import ATARI, GENERATED
from relic_rl.evaluate_kinds.invariance_options import COSINE, Options
from relic_rl.evaluate_kinds.opening import Evaluation, open_evaluation
from relic_rl.evaluate_kinds.shared_options import UNTRAINED
from relic_rl.evaluation.class_statistics import class_statistics
from relic_rl.evaluation.features import FeatureSet
from relic_rl.evaluation.geometry import effective_rank, uniformity
from relic_rl.evaluation.interventions import NOTHING, chosen_interventions
from relic_rl.evaluation.invariance import Intervention, measure_intervention
from relic_rl.evaluation.joining import join_results
from relic_rl.evaluation.report import markdown_table, show
from relic_rl.evaluation.variance_shares import variance_share
from relic_rl.representation.view_recipes import ViewDraws, ViewRecipe, view_draws
from relic_rl.representation.views import ViewMaker
from relic_rl.representation.weights import read_critic, split_source
from relic_rl.runtime.errors import BadInput, RunFailed, user_errors
from relic_rl.runtime.precision import autocast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("contrastive", "kl", "accuracy", "alignment", "style_share")
_VARIANCE = "variance"
_MEANING = {
    "contrastive": "contrastive loss, nats",
    "kl": "KL between the directions of the intervention, nats",
    "accuracy": "share of images told from all others",
    "alignment": "squared distance of normalised features",
    "style_share": "share of the intervention in the variance of features",
    _VARIANCE: "share of the label in the variance of features",
}
_CRITIC = "critic.safetensors"
_NO_CRITIC = "none, cosine of the features themselves"
PLAIN = "as they are"


class Compared(NamedTuple):
    """By what views are compared.

    Attributes:
        critic: maps features [N, D] to what is compared by its cosine.
        says: which critic that is, in words.
        temperature: tau.
    """

    critic: Callable[[Tensor], Tensor]
    says: str
    temperature: float


def run(options: Options) -> int:
    """Measure and report; the exit code.

    Raises:
        BadInput: no such data, encoder, critic or intervention.
    """
    with open_evaluation("invariance", options, needs=("test",)) as evaluation:
        with user_errors():
            chosen = chosen_interventions(options.interventions, frames=options.data == ATARI)
            compared = _compared(evaluation, options)
        evaluation.note(f"critic: {compared.says}; temperature {compared.temperature:g}")
        rows = _rows(len(evaluation.splits["test"]), options.max_images)
        views = _features(evaluation, {PLAIN: (NOTHING,), **chosen}, rows)
        plain = views.pop(PLAIN)[0]
        if len(plain) < 2:
            raise RunFailed("less than two held-out images can be used: give more")
        metrics: dict[str, float | None] = {}
        found: dict[str, Intervention] = {}
        for name, of_views in views.items():
            first, second = of_views if len(of_views) == 2 else (plain, of_views[0])
            found[name] = measure_intervention(
                first,
                second,
                compared.critic,
                temperature=compared.temperature,
                contrast_size=options.contrast_size,
            )
            metrics |= {f"{name}/{column}": getattr(found[name], column) for column in _COLUMNS}
        metrics["uniformity"] = uniformity(plain)
        metrics["effective rank"] = effective_rank(plain)
        shares = _shares(evaluation.features("test"), _share_labels(evaluation))
        metrics |= {f"{_VARIANCE}/{label}": share for label, share in shares.items()}
        details = {
            "critic": compared.says,
            "temperature": compared.temperature,
            "contrast_size": min(options.contrast_size, len(plain)),
            "images": len(plain),
            "interventions": {name: one._asdict() for name, one in found.items()},
        }
        alone: dict[str, tuple[float | None, float | None]] = {name: (value, None) for name, value in metrics.items()}
        table = _table(found, metrics, shares, compared)
        return evaluation.finish(metrics, details, table=table, figures=_figures({evaluation.name: alone}))


def compare_figures(results: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Bars of all results side by side, seeds of one encoder as their mean and interval."""
    joined = join_results(results)
    return _figures(
        {
            name: {metric: (one.mean, one.half_width) for metric, one in metrics.items()}
            for name, metrics in joined.items()
        }
    )


def compare_remarks(results: Sequence[Mapping[str, Any]]) -> str:
    """What encoders were asked with, where they were not asked alike: losses and KL depend on it."""
    asked: dict[str, dict[str, None]] = {}
    for result in results:
        details = result.get("details")
        about = details if isinstance(details, dict) else {}
        critic = "no critic" if about.get("critic") == _NO_CRITIC else "its critic"
        asked.setdefault(result["name"], {})[f"{critic}, temperature {about.get('temperature')}"] = None
    if len({tuple(ways) for ways in asked.values()}) == 1 and all(len(ways) == 1 for ways in asked.values()):
        return ""
    told = "; ".join(f"{name}: {' and '.join(ways)}" for name, ways in asked.items())
    return (
        f"\nNot asked alike ({told}): contrastive loss, KL and accuracy depend on that, the other numbers do not. "
        f"--critic {COSINE} and one --temperature ask all alike.\n"
    )


def _rows(count: int, most: int) -> NDArray[np.int64]:
    """The images that are compared, in a random order that is the same for every encoder: folders lie in classes."""
    return np.random.default_rng(0).permutation(count)[:most].astype(np.int64)


def _features(
    evaluation: Evaluation, interventions: Mapping[str, tuple[ViewRecipe, ...]], rows: NDArray[np.int64]
) -> dict[str, list[Tensor]]:
    """Features [N, D] of the views of each intervention, float32 on the CPU; of images as they are only by that name.

    One pass over the images; every intervention is given the same random numbers.
    """
    encoder, device = evaluation.encoder, evaluation.device
    size, whole = encoder.image_size, ViewMaker((), ())
    # For all images at once, so that the size of a batch changes nothing.
    draws = view_draws(evaluation.streams.integer("views"), 0, 2, len(rows), slice(None))
    place = np.argsort(rows)
    ordered = rows[place]
    wanted = {
        name: tuple(recipe for recipe in recipes if recipe != NOTHING or name == PLAIN)
        for name, recipes in interventions.items()
    }
    parts: dict[str, list[list[Tensor]]] = {name: [[] for _ in recipes] for name, recipes in wanted.items()}
    for batch in evaluation.splits["test"].batches(evaluation.options.batch_size, rows):
        drawn = place[np.searchsorted(ordered, batch.rows)]
        of_batch = [ViewDraws(one.uniform[drawn], one.order) for one in draws]
        images = whole.plain(batch.images.to(device), size)
        for name, recipes in wanted.items():
            sizes = (size,) * len(recipes)
            maker = ViewMaker(recipes, sizes, grey=encoder.views.grey, stack=encoder.views.stack)
            views = maker(images, of_batch[-len(recipes) :])
            with torch.no_grad(), autocast(device, evaluation.dtype):
                for part, view in zip(parts[name], views, strict=True):
                    part.append(encoder.module(view).float().cpu())
    empty = torch.empty(0, encoder.module.feature_dim)
    return {name: [torch.cat([empty, *part]) for part in of_views] for name, of_views in parts.items()}


def _compared(evaluation: Evaluation, options: Options) -> Compared:
    """The critic that is asked for, or the encoder's own."""
    made_by = evaluation.encoder.made_by
    stated = made_by.get("objective_options")
    tau = options.temperature or (stated.get("temperature") if isinstance(stated, dict) else None)
    temperature = float(tau) if isinstance(tau, int | float) and 0 < tau < 1e6 else 0.1
    path = None if options.critic in (None, COSINE) else Path(str(options.critic))
    if options.critic is None and options.encoder not in (None, UNTRAINED):
        beside = split_source(str(options.encoder))[0].with_name(_CRITIC)
        path = beside if beside.is_file() else None
    if path is None:
        return Compared(lambda features: features, _NO_CRITIC, temperature)
    critic, report = read_critic(path)
    dim = evaluation.encoder.module.feature_dim
    in_dim = next(critic.parameters()).shape[1]
    if in_dim != dim:
        raise BadInput(
            f"{path} is a critic of {in_dim} features, the encoder has {dim}: give --critic cosine or its own"
        )
    if options.critic is None and report.metadata != made_by:
        raise BadInput(
            f"{path} was not made with this encoder: give --critic cosine, or --critic {path} if you mean it"
        )
    return Compared(critic.eval().requires_grad_(False), f"{path}", temperature)


def _share_labels(evaluation: Evaluation) -> list[str]:
    """Labels whose share of the variance is told: of generated images all causes, else the main label."""
    if evaluation.splits.source == GENERATED:
        return list(evaluation.splits.num_classes)
    return [evaluation.splits.primary]


def _shares(features: FeatureSet, labels: Sequence[str]) -> dict[str, float | None]:
    """Of each label what it explains of the variance; of generated images what content leaves to style, too."""
    shares: dict[str, float | None] = {}
    for label in labels:
        known, values = features.labelled(label)
        try:
            shares[label] = variance_share(class_statistics(known, values, features.num_classes[label])).share
        except ValueError:  # of this label there are too few images
            shares[label] = None
    if "member" in shares:
        member = shares["member"]
        return {"style (1 - member)": None if member is None else 1 - member} | shares
    return shares


def _table(
    found: Mapping[str, Intervention],
    metrics: Mapping[str, float | None],
    shares: Mapping[str, float | None],
    compared: Compared,
) -> str:
    header = ["intervention", "contrastive", "KL", "accuracy", "alignment", "share of style in variance"]
    rows = [[name, *(show(getattr(one, column)) for column in _COLUMNS)] for name, one in found.items()]
    chance = next(iter(found.values())).chance
    geometry = [[name, show(metrics[name])] for name in ("uniformity", "effective rank")]
    explained = [[f"variance: {label}", show(share)] for label, share in shares.items()]
    return (
        f"{markdown_table(header, rows)}\nContrastive loss and KL in nats; at chance the loss is {chance:.4g}. An "
        "encoder that tells nothing apart has a KL of 0: read it beside the loss, and beside the share of style, which "
        f"does not depend on how sharp the answers are. Critic: {compared.says}; temperature "
        f"{compared.temperature:g}.\n\n"
        f"{markdown_table(['features', 'value'], [*geometry, *explained])}"
    )


def _figures(encoders: Mapping[str, Mapping[str, tuple[float | None, float | None]]]) -> dict[str, Figure]:
    """Bars over interventions for each column, and over labels for their shares of the variance."""
    from relic_rl.evaluation.figures import metric_bars  # noqa: PLC0415 (late: matplotlib)

    figures = {}
    for column in (*_COLUMNS, _VARIANCE):
        chosen = {
            name: {
                _other_part(metric, column): value for metric, value in metrics.items() if column in metric.split("/")
            }
            for name, metrics in encoders.items()
        }
        if any(chosen.values()):
            figures[column] = metric_bars(chosen)
            figures[column].axes[0].set_xlabel(_MEANING[column])
    return figures


def _other_part(metric: str, column: str) -> str:
    """The intervention or label that a metric of this column is of."""
    return next(part for part in metric.split("/") if part != column)
