"""An optimiser step as every learner makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from agents.auxiliary import AuxiliaryLoss
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.distributed import mean_over_processes
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section


def differentiate(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Leave the gradients of a scalar loss, and nothing else, at the optimiser's parameters."""
    optimizer.zero_grad(set_to_none=True)
    with section("backward"):
        loss.backward()  # type: ignore[no-untyped-call]


def step(
    loss: Tensor,
    parameters: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    guard: GradientGuard,
    seen: Mapping[str, Tensor],
    auxiliary: AuxiliaryLoss | None,
    encoder: Encoder,
) -> Tensor:
    """Clip and step; then the auxiliary objective's target follows. Skipped where the guard is unsound.

    Args:
        loss: what the gradients are of, a detached scalar.
        parameters: all that are optimised, with their gradients.
        optimizer: theirs.
        guard: measures and clips their gradients.
        seen: metrics and batch by name, for the record should the run be lost.
        auxiliary: the representation loss that is part of ``loss``, or None.
        encoder: the online encoder, whose filters are kept centred and which the target follows.

    Returns:
        The gradients' global norm before clipping, a detached scalar.
    """
    with section("optimiser"):
        encoder.centre_gradients()
        # The same number in every process, so that all skip an update or none.
        norm = guard.clip(parameters, mean_over_processes(loss), seen)
        if guard.sound:
            optimizer.step()
            encoder.centre_weights()
    if guard.sound and auxiliary is not None:
        with section("auxiliary target"):
            auxiliary.objective.update_target(encoder)
    return norm
