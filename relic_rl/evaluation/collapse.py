"""Is a representation still alive? Two numbers, and when to warn."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

_AT_CHANCE = 0.98  # of the loss at chance
_FLAT = 0.05  # of the spread of evenly spread features
_LINE = 1.5  # directions
_ROWS = 3  # in a row


@torch.no_grad()
def feature_health(features: Tensor, *, most: int = 512) -> dict[str, Tensor]:
    """How much room features take, over at most `most` rows.

    Args:
        features: [N, D], N at least 2.
        most: rows looked at.

    Returns:
        `features/spread`: standard deviation over rows of each coordinate of the L2-normalised features, mean
        over coordinates, times sqrt(D): about 1 where they are spread over the sphere, 0 where all are one.
        `features/rank`: (sum of the covariance's eigenvalues)^2 / sum of their squares: how many directions
        features vary in. Both 0-d.
    """
    unit = functional.normalize(features[:most].float(), dim=1)
    spread = unit.std(dim=0).mean() * unit.shape[1] ** 0.5
    centred = unit - unit.mean(dim=0)
    gram = centred @ centred.T  # has the covariance's eigenvalues, up to a factor
    rank = gram.trace().square() / gram.square().sum().clamp(min=1e-12)
    return {"features/spread": spread, "features/rank": rank}


class CollapseWatch:
    """Says once what has gone wrong, when it has been so for three rows of the log.

    Args:
        loss: name of the contrastive loss among the metrics.
        chance: its value where features tell nothing, the logarithm of the number of candidates; None for an
            objective without one.
        start: update before which nothing is said: every run begins at chance.
    """

    def __init__(self, loss: str, chance: float | None, start: int) -> None:
        self.loss = loss
        self.chance = chance
        self.start = start
        self.warnings: list[str] = []
        self._rows = {"loss": 0, "features": 0}

    def look(self, update: int, metrics: Mapping[str, float]) -> str | None:
        """The warning that a row of the log gives rise to, if any."""
        if update < self.start:
            return None
        value = metrics.get(self.loss)
        at_chance = self.chance is not None and value is not None and value >= _AT_CHANCE * self.chance
        spread, rank = metrics.get("features/spread", 1.0), metrics.get("features/rank", 100.0)
        flat = spread < _FLAT or rank < _LINE
        if self._lasts("loss", at_chance):
            self.warnings.append(
                f"{self.loss} is {value:.3g} and sits at chance, the logarithm of the candidates "
                f"({self.chance:.3g}): nothing is learned; look at the learning rate and the augmentation"
            )
            return self.warnings[-1]
        if self._lasts("features", flat):
            self.warnings.append(
                f"features have collapsed (spread {spread:.2g}, {rank:.2g} directions): lower the learning rate, or "
                "raise the target's decay"
            )
            return self.warnings[-1]
        return None

    def _lasts(self, kind: str, is_so: bool) -> bool:
        """Whether it has just been so for three rows, for the first time."""
        if self._rows[kind] >= _ROWS:
            return False
        self._rows[kind] = self._rows[kind] + 1 if is_so else 0
        return self._rows[kind] == _ROWS
