"""SimCLR: NT-Xent between two views, one network for both.

Source: Chen et al., 2020 (arXiv 2002.05709).

Departures: the critic has no batch normalisation unless asked for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.losses import nt_xent_loss
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives.base import (
    Objective,
    ObjectiveOutput,
    Temperature,
    accuracy,
    full_precision,
    widen,
)


class SimCLRObjective(Objective):
    """NT-Xent over the 2B outputs of two views.

    Metrics: `contrastive`; `accuracy`, first view against all outputs of the second; `temperature` where it
    is learned.

    Args:
        critic: SimCLR's projection head.
        temperature: tau, or its initial value.
        learnable_temperature: learn log(tau).
    """

    def __init__(self, critic: Critic, *, temperature: float = 0.1, learnable_temperature: bool = False) -> None:
        super().__init__()
        self.critic = critic
        self.temperature = Temperature(temperature, learnable=learnable_temperature)

    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """NT-Xent of two views; see `Objective.forward`."""
        self.check(views, groups)
        z_1, z_2 = widen(self.critic(encoder(torch.cat(list(views))))).chunk(2)
        candidates_1, candidates_2 = self.candidates([z_1, z_2])
        offset = self.offset(len(z_1))
        with full_precision(z_1):
            loss = nt_xent_loss(
                z_1,
                z_2,
                temperature=self.temperature(),
                candidates_1=candidates_1,
                candidates_2=candidates_2,
                positive_offset=offset,
            )
            hits = accuracy(z_1.detach() @ functional.normalize(candidates_2.detach(), dim=1).T, offset)
        metrics = {"contrastive": loss.detach(), "accuracy": hits}
        return ObjectiveOutput(loss, metrics | self.temperature.metrics())
