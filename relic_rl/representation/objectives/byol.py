"""BYOL: predict the averaged network's projection of the other view.

Source: Grill et al., 2020 (arXiv 2006.07733).

Departures: critic and predictor have no batch normalisation unless asked for; the decay is constant, not
annealed to 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.losses import byol_loss
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives.base import (
    Objective,
    ObjectiveOutput,
    accuracy,
    full_precision,
    widen,
)
from relic_rl.representation.target import TargetNetwork


class BYOLObjective(Objective):
    """2 - 2 cos(q(z_1), z'_2) plus the swapped term: the SUM of the two, in [0, 8].

    A mean instead of the sum would halve the gradient, which for SGD is a factor of two in the learning rate.

    Metrics: `regression`, the loss; `accuracy`, first view's predictions against projections of the second,
    this process's only (chance, 1 / B, when the outputs collapse).

    Args:
        encoder: the online encoder, copied into the target; not kept.
        critic: BYOL's projector.
        predictor: q, on the online side only.
        target_decay: fraction of the old average kept at each update.
    """

    def __init__(self, encoder: Encoder, critic: Critic, predictor: Critic, *, target_decay: float = 0.99) -> None:
        super().__init__()
        self.critic = critic
        self.predictor = predictor
        self.target = TargetNetwork(encoder, critic, target_decay)

    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """Both terms, summed; see `Objective.forward`."""
        self.check(views, groups)
        images = torch.cat(list(views))
        prediction_1, prediction_2 = widen(self.predictor(self.critic(encoder(images)))).chunk(2)
        target_1, target_2 = widen(self.target(images)).chunk(2)
        with full_precision(images):
            loss = byol_loss(prediction_1, target_2) + byol_loss(prediction_2, target_1)
            hits = accuracy(prediction_1.detach() @ functional.normalize(target_2, dim=1).T, 0)
        return ObjectiveOutput(loss, {"regression": loss.detach(), "accuracy": hits})

    def update_target(self, encoder: Encoder) -> None:
        """One step of the average."""
        self.target.update(encoder, self.critic)
