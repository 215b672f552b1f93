"""Options of ``python -m relic_rl.evaluate ldr``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relic_rl.evaluate_kinds.shared_options import LabelOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(LabelOptions):
    """The linear discriminant ratio: how far apart classes lie, for how far each is spread."""

    denominator: Literal["mean", "sum"] = option(
        "mean", "of squared distances within a class; sum: as the paper writes it, for classes of equal size"
    )
    correct_bias: bool = option(True, "subtract what classes of few images add to the distance of their means")
