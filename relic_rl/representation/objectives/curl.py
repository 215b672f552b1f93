"""CURL: queries of one crop against averaged keys of the other, under a learned bilinear form.

Source: Laskin, Srinivas and Abbeel, 2020 (arXiv 2004.04136).

Departures: the shared critic stands between encoder and bilinear form, as in every objective here; the crop
is of a padded frame (augmentation `crop` or `shift`), since frames are stored at the size that the encoder
sees.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relic_rl.losses import curl_loss
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


class CURLObjective(Objective):
    """Cross-entropy of q W k^T in one direction: the first view is the query, the second the key.

    Nothing is normalised. W starts uniform in [0, 1), as in the authors' code.

    Metrics: `contrastive`, `accuracy`.

    Args:
        encoder: the online encoder, copied into the target that computes the keys; not kept.
        critic: between encoder and bilinear form.
        out_dim: D, the critic's number of outputs.
        target_decay: fraction of the old average kept at each update.
    """

    def __init__(self, encoder: Encoder, critic: Critic, out_dim: int, *, target_decay: float = 0.99) -> None:
        super().__init__()
        self.critic = critic
        self.target = TargetNetwork(encoder, critic, target_decay)
        self.bilinear = nn.Parameter(torch.rand(out_dim, out_dim))

    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """Queries of the first view against keys of the second; see `Objective.forward`."""
        self.check(views, groups)
        query = widen(self.critic(encoder(views[0])))
        key = self.candidates([widen(self.target(views[1]))])[0]
        offset = self.offset(len(query))
        with full_precision(query):
            loss = curl_loss(query, key, self.bilinear, positive_offset=offset)
            hits = accuracy(query.detach() @ self.bilinear.detach() @ key.T, offset)
        return ObjectiveOutput(loss, {"contrastive": loss.detach(), "accuracy": hits})

    def update_target(self, encoder: Encoder) -> None:
        """One step of the average."""
        self.target.update(encoder, self.critic)
