"""The auxiliary loss as agents use it: augmented views of frames through a representation objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.parallel import Averaged
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives import Objective, ObjectiveOutput
from relic_rl.runtime.profile import section

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class AuxiliaryLoss:
    """Two views of some frames, through the shared encoder and an objective, every few updates.

    Args:
        objective: a representation objective (RELIC, InfoNCE, ...).
        augmentation: maps images [B, C, H, W] and a generator to an augmented copy; called once per view.
        generator: the augmentation's stream of randomness, on the frames' device.
        weight: coefficient of the loss; the same for every game.
        batch_size: B, number of frames; fewer where the agent's minibatch holds fewer.
        every: number of optimiser steps from one evaluation of the loss to the next.

    Attributes:
        averaged: joins other processes in averaging the gradients of the objective's own parameters.
    """

    def __init__(
        self,
        objective: Objective,
        augmentation: Augmentation,
        generator: torch.Generator,
        *,
        weight: float,
        batch_size: int,
        every: int,
    ) -> None:
        self.objective = objective
        self.averaged = Averaged(objective)
        self.augmentation = augmentation
        self.generator = generator
        self.weight = weight
        self.batch_size = batch_size
        self.every = every

    def due(self, update: int) -> bool:
        """Whether optimiser step number ``update`` (from 0) carries the auxiliary loss."""
        return update % self.every == 0

    @section("auxiliary loss")
    def __call__(self, encoder: Encoder, frames: Tensor, groups: Tensor | None = None) -> ObjectiveOutput:
        """The objective's loss on two augmented views of frames (uint8 [B, C, H, W]); groups int64 [B]."""
        views = [self.augmentation(frames, self.generator) for _ in range(2)]
        output: ObjectiveOutput = self.averaged(lambda: self.objective(encoder, views, groups))
        return output
