"""Which share of a score is kept when the style of the screen changes.

Means over severities first and over interventions after that follow Hendrycks and Dietterich, 2019
(https://arxiv.org/abs/1903.12261).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

UNSEEN = "unseen"
"""The name of the styles that an environment itself keeps from training."""


class Style(NamedTuple):
    """A style to play in; one without severities has severity 0."""

    name: str
    severity: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}" if self.severity else self.name


PLAIN = Style("none", 0)
"""The screen as it is."""


def share_kept(shifted: float, plain: float, random: float | None = None) -> float | None:
    """(shifted - random) / (plain - random): 1 = nothing lost, 0 = no better than random play.

    Args:
        shifted: mean score in a style.
        plain: mean score on the screen as it is.
        random: mean score of random play, as of `envs.scores.random_score`; None where it is not known, which counts
            as 0.

    Returns:
        None unless ``plain`` is above ``random``: nothing is there that could be kept.
    """
    random = random or 0.0
    return (shifted - random) / (plain - random) if plain > random else None


def mean_shares(shares: Mapping[Style, float | None]) -> dict[str, float | None]:
    """By name of a style the mean over its severities, and under ``all`` the mean of these over names.

    What the environment itself keeps from training is no intervention and stays out of ``all``, which is missing where
    nothing else is there. None where a share is.
    """
    names = list(dict.fromkeys(style.name for style in shares))
    means = {name: complete_mean([share for style, share in shares.items() if style.name == name]) for name in names}
    interventions = [means[name] for name in names if name != UNSEEN]
    return means | ({"all": complete_mean(interventions)} if interventions else {})


def complete_mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is, or where there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
