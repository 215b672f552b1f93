"""Clips gradients, and keeps updates that are not finite out of the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from relic_rl.runtime.errors import RunFailed


class GradientGuard:
    """Clips the global norm of all gradients; an update with a loss or gradient that is not finite is to be
    skipped.

    Between ``clip`` and the optimiser's step, ask ``sound``. A few such updates happen (an unlucky batch in
    low precision) and are counted; many in a row mean that the run is lost.

    Args:
        max_norm: limit of the global L2 norm, above 0.
        patience: unsound updates in a row that are borne; one more raises.

    Attributes:
        sound: whether the last update may be applied.
        skipped: unsound updates so far.
    """

    def __init__(self, max_norm: float, patience: int = 10) -> None:
        self.max_norm = max_norm
        self.patience = patience
        self.sound = True
        self.skipped = 0
        self._in_a_row = 0

    def clip(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Scale all gradients by one factor so that their global norm is at most ``max_norm``.

        Args:
            parameters: every optimised parameter; a parameter left out is neither measured nor clipped.
            loss: the loss that was differentiated, a scalar.

        Returns:
            The norm before clipping, a detached scalar.

        Raises:
            RunFailed: more than ``patience`` unsound updates in a row.
        """
        norm = torch.nn.utils.clip_grad_norm_(list(parameters), self.max_norm)
        # One transfer from the device answers for both.
        self.sound = bool(torch.isfinite(norm) & torch.isfinite(loss.detach()))
        if self.sound:
            self._in_a_row = 0
            return norm.detach()
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row > self.patience:
            raise RunFailed(
                f"loss or gradient was not finite in {self._in_a_row} updates in a row: lower the "
                "learning rate, or use --precision fp32"
            )
        return norm.detach()

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.skipped = state["skipped"]
        self._in_a_row = state["in_a_row"]
