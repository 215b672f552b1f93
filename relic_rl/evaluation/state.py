"""What frozen features tell of a game's state: linear probes of annotated variables of its memory.

Source: AtariARI, Anand et al., NeurIPS 2019 (arXiv 1906.08226), section 4: one linear softmax per variable, judged by
macro F1 on frames of other episodes; variables that hardly vary are left out.

Departures from their code: F1 is averaged over classes evenly (macro), theirs in proportion to the classes' counts, so
that rare values count for more here; the probes are fitted to the optimum of a penalised likelihood (L-BFGS) and the
penalty is chosen on held-out episodes of the training frames, instead of Adam for a fixed number of epochs, so that no
encoder is favoured by the scale of its features; a variable's classes are the values that occur in training, not all
256; it must have the least entropy in training and in test frames each, not in all together. The labels were annotated
for whole frames: at 84 x 84 pixels compare encoders with each other, not with the paper's numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from relic_rl.evaluation.held_out import held_out

LEAST_ENTROPY = 0.6  # nats
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
_HELD_OUT = 0.2  # of the training frames, in whole episodes, on which the penalty is chosen

Labels = Mapping[str, NDArray[np.int64]]
"""By variable, int64 [N]."""


def entropy(values: NDArray[np.int64]) -> float:
    """Entropy of the distribution of values, nats."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return max(0.0, float(-(share * np.log(share)).sum()))  # never -0.0


def varied(*parts: Labels, least: float = LEAST_ENTROPY) -> list[str]:
    """The variables of at least this entropy, nats, in each of several sets of frames.

    Whoever knows nothing is always right about a variable that stays as it is in the test frames.
    """
    return [name for name in parts[0] if all(entropy(part[name]) >= least for part in parts)]


def macro_f1(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean of F1 over the classes that occur among truths or predictions.

    F1 of a class is 2 TP / (2 TP + FP + FN).

    Args:
        truth: int64 [N], N at least 1.
        predicted: int64 [N].
    """
    classes, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, guessed = codes[: len(truth)], codes[len(truth) :]
    right = np.bincount(true[true == guessed], minlength=len(classes))
    total = np.bincount(true, minlength=len(classes)) + np.bincount(guessed, minlength=len(classes))
    return float((2 * right / total).mean())


CATEGORIES = (
    "small_object_localization",
    "agent_localization",
    "other_localization",
    "score_clock_lives_display",
    "misc",
)


def categories_of(variable: str) -> list[str]:
    """AtariARI's categories of a variable, told by its name; it may belong to two, or to none."""

    def has(*parts: str) -> bool:
        return any(part in variable for part in parts)

    found = []
    if has("_x", "_y", "_z", "_column"):
        if has("ball", "missile"):
            found.append("small_object_localization")
        else:
            found.append("agent_localization" if has("agent", "player") else "other_localization")
    if has("score", "clock", "lives", "lifes", "meter", "display"):
        found.append("score_clock_lives_display")
    if has("count", "bit_map", "existence", "level", "room", "game_state", "direction"):
        found.append("misc")
    return found


class Summary(NamedTuple):
    """Means of a score over variables.

    Attributes:
        mean: over all variables.
        by_category: over those of each category that has any.
        over_categories: mean of these; None if no variable has a category.
    """

    mean: float
    by_category: dict[str, float]
    over_categories: float | None


def summarize_variables(scores: Mapping[str, float]) -> Summary:
    """Means over the variables of one game, at least one."""
    grouped = {
        category: [score for name, score in scores.items() if category in categories_of(name)]
        for category in CATEGORIES
    }
    means = {category: statistics.fmean(values) for category, values in grouped.items() if values}
    return Summary(statistics.fmean(scores.values()), means, statistics.fmean(means.values()) if means else None)


class Probes(NamedTuple):
    """Linear probes of V variables, joined into one matrix (D features, K classes of all variables together).

    Attributes:
        mean: float [D], of the training features.
        scale: float [D], their standard deviation; 1 where they do not vary.
        weight: float [K, D], of standardised features.
        bias: float [K].
        values: of each variable, its classes' values, int64 [K_v], ascending.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    values: dict[str, NDArray[np.int64]]

    def predict(self, features: Tensor, *, chunk: int = 4_096) -> dict[str, NDArray[np.int64]]:
        """The likeliest value of every variable, int64 [N], for features [N, D]."""
        parts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in self.values}
        for start in range(0, len(features), chunk):
            some = (features[start : start + chunk] - self.mean) / self.scale
            logits = functional.linear(some, self.weight, self.bias)
            widths = [len(values) for values in self.values.values()]
            for (name, values), own in zip(self.values.items(), torch.split(logits, widths, dim=1), strict=True):
                parts[name].append(values[own.argmax(dim=1).cpu().numpy()])
        return {name: np.concatenate(found) for name, found in parts.items()}


def fit_probes(features: Tensor, labels: Labels, *, penalty: float, iterations: int = 100) -> Probes:
    """Softmax regression of every variable on standardised features.

    Minimises for each variable: mean over frames of -log p(value | features) + penalty / 2 * ||weights||^2, the bias
    free. The sum over variables is minimised at once, since they share nothing but the features.

    Args:
        features: float [N, D], N at least 1; computed in their type, on their device.
        labels: the variables, at least one.
        penalty: above 0.
        iterations: of L-BFGS, at most.
    """
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.ones_like(scale))  # whatever the encoder's scale
    standard = (features - mean) / scale
    coded = {name: np.unique(values, return_inverse=True) for name, values in labels.items()}
    targets = [torch.from_numpy(codes.astype(np.int64)).to(features.device) for _, codes in coded.values()]
    values = {name: found for name, (found, _) in coded.items()}
    widths = [len(found) for found in values.values()]
    weight = torch.zeros(sum(widths), features.shape[1], dtype=features.dtype, device=features.device)
    bias = torch.zeros(sum(widths), dtype=features.dtype, device=features.device)
    weight.requires_grad_()
    bias.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = torch.split(functional.linear(standard, weight, bias), widths, dim=1)
        likelihood = torch.stack([functional.cross_entropy(own, t) for own, t in zip(logits, targets, strict=True)])
        loss = likelihood.sum() + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Probes(mean, scale, weight.detach(), bias.detach(), values)


class FittedProbes(NamedTuple):
    """Probes and how their penalty was chosen.

    Attributes:
        probes: fitted to all training frames.
        penalty: the chosen one.
        held_out_f1: by penalty, the mean macro F1 on the held-out part of the training frames.
    """

    probes: Probes
    penalty: float
    held_out_f1: dict[float, float]


def choose_and_fit(
    features: Tensor,
    labels: Labels,
    episodes: Tensor | None,
    generator: np.random.Generator,
    *,
    penalties: Sequence[float] = PENALTIES,
    iterations: int = 100,
) -> FittedProbes:
    """Choose the penalty on a fifth of the training frames, then fit to all of them.

    The fifth consists of whole episodes: a frame's neighbours in its own episode are all but equal to it and would
    favour the least penalty.

    Args:
        features: float [N, D] of training frames, N at least 5.
        labels: the variables, at least one.
        episodes: int64 [N], which episode each frame is of; None draws frames one by one.
        generator: draws the fifth.
        penalties: to choose from.
        iterations: of L-BFGS, at most.
    """
    scores = {}
    if len(penalties) > 1:
        learn, judge = held_out(len(features), _HELD_OUT, generator, episodes)
        known, asked = ({name: values[part.numpy()] for name, values in labels.items()} for part in (learn, judge))
        for penalty in penalties:
            probes = fit_probes(features[learn], known, penalty=penalty, iterations=iterations)
            found = f1_scores(probes, features[judge], asked)
            scores[penalty] = statistics.fmean(found.values())
    best = max(scores, key=lambda penalty: scores[penalty]) if scores else penalties[0]
    return FittedProbes(fit_probes(features, labels, penalty=best, iterations=iterations), best, scores)


def f1_scores(probes: Probes, features: Tensor, labels: Labels) -> dict[str, float]:
    """Macro F1 of every variable on frames, features [N, D]."""
    predicted = probes.predict(features)
    return {name: macro_f1(values, predicted[name]) for name, values in labels.items()}
