"""Options of ``python -m relic_rl.evaluate knn``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relic_rl.evaluate_kinds.shared_options import LabelOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(LabelOptions):
    """Nearest neighbours on frozen features: the label that the nearest training images vote for."""

    k: tuple[int, ...] = option((20, 200), "neighbours that vote; each number gives a row of the table", min=1)
    temperature: float = option(0.07, "a neighbour's vote weighs exp(cosine / temperature)", above=0)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if not self.k:
            yield "--k names no number of neighbours: give some, such as 20"
