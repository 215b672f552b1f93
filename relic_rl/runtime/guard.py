"""Clips gradients, and keeps updates that are not finite out of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from relic_rl.runtime.errors import RunFailed
from relic_rl.runtime.tensor_summary import summarize_tensor


class NotFinite(RunFailed):
    """Too many updates in a row had a loss or gradient that was not finite.

    Attributes:
        seen: what the last of them saw, plain values: summaries of loss, metrics, batch, weights and gradients.
    """

    def __init__(self, message: str, seen: dict[str, Any]) -> None:
        super().__init__(message)
        self.seen = seen


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

    def clip(self, parameters: Iterable[Tensor], loss: Tensor, seen: Mapping[str, Tensor] | None = None) -> Tensor:
        """Scale all gradients by one factor so that their global norm is at most ``max_norm``; leave unsound ones.

        Args:
            parameters: every optimised parameter; a parameter left out is neither measured nor clipped.
            loss: the loss that was differentiated, a scalar.
            seen: metrics and batch by name, for the record should the run be lost.

        Returns:
            The norm before clipping, a detached scalar.

        Raises:
            NotFinite: more than ``patience`` unsound updates in a row.
        """
        parameters = list(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # One transfer from the device answers for both.
        self.sound = bool(torch.isfinite(norm) & torch.isfinite(loss.detach()))
        if self.sound:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, norm)
            self._in_a_row = 0
            return norm.detach()
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row > self.patience:
            raise NotFinite(
                f"loss or gradient was not finite in {self._in_a_row} updates in a row: lower the "
                "learning rate, or use --precision fp32",
                {
                    "updates_in_a_row": self._in_a_row,
                    "updates_skipped": self.skipped,
                    "loss": summarize_tensor(loss),
                    "gradient_norm": summarize_tensor(norm),
                    "seen": {name: summarize_tensor(value) for name, value in (seen or {}).items()},
                    "weights": [summarize_tensor(p) for p in parameters],
                    "gradients": [None if p.grad is None else summarize_tensor(p.grad) for p in parameters],
                },
            )
        return norm.detach()

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.skipped = state["skipped"]
        self._in_a_row = state["in_a_row"]
