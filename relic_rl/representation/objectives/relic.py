"""RELIC on an encoder: critic, target, and (R2) over all views. With alpha = 0 it is InfoNCE, the same code.

Source: Mitrovic et al., ICLR 2021 (arXiv 2010.07922).

Small views: Tomasev et al., 2022, ReLICv2 (arXiv 2201.05119), section 3: they are anchors only.

Departures: the averaged target is a copy of encoder AND critic; means instead of sums (see
`relic_rl.losses.relic`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from relic_rl.losses import relic_loss
from relic_rl.losses.divergences import divergence_by_name
from relic_rl.losses.invariance import StopGradient
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives.base import Objective, ObjectiveOutput, Temperature
from relic_rl.representation.target import TargetNetwork


class RelicObjective(Objective):
    """Each view's outputs, contrasted with the target's outputs for every other view.

    Metrics: `contrastive`, `invariance` (a diagnostic where alpha is 0), `accuracy`, and `temperature` where
    it is learned.

    Args:
        encoder: the online encoder, copied into the target; not kept.
        critic: g, shared by all views.
        target_decay: fraction of the old average kept at each update; None means h = f: one pass serves both
            sides and gradient flows through both.
        temperature: tau, or its initial value.
        learnable_temperature: learn log(tau).
        alpha: weight of the invariance penalty.
        divergence: name of the penalty's divergence.
        penalty_stop_gradient: which argument of the divergence is held fixed, None for neither.
        normalize: whether the critic's outputs are L2-normalised.
        block_size: anchor rows at a time, for batches whose logits do not fit in memory; None for the dense
            form.
        target_views: W, how many of the views, the first ones, are targets too; the others, of another size
            as it may be, go through the online networks only. None for all.

    Raises:
        ValueError: a value outside its range, or an unknown divergence.
    """

    takes_groups = True

    def __init__(
        self,
        encoder: Encoder,
        critic: Critic,
        *,
        target_decay: float | None = 0.99,
        temperature: float = 0.1,
        learnable_temperature: bool = False,
        alpha: float = 1.0,
        divergence: str = "kl",
        penalty_stop_gradient: StopGradient | None = None,
        normalize: bool = True,
        block_size: int | None = None,
        target_views: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= alpha < float("inf"):
            raise ValueError(f"alpha must be finite and not negative, got {alpha}")
        if divergence != "sinkhorn":
            divergence_by_name(divergence)
        elif block_size is not None:
            raise ValueError("divergence sinkhorn has no blockwise form: leave block_size out")
        self.critic = critic
        self.target = None if target_decay is None else TargetNetwork(encoder, critic, target_decay)
        self.temperature = Temperature(temperature, learnable=learnable_temperature)
        self.alpha = alpha
        self.divergence = divergence
        self.penalty_stop_gradient = penalty_stop_gradient
        self.normalize = normalize
        self.block_size = block_size
        if target_views is not None and target_views < 2:
            raise ValueError(f"target_views is {target_views}: two views at least must be targets of each other")
        self.target_views = target_views

    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """(R2) over V >= 2 views; see `Objective.forward`."""
        self.check(views, groups, most=len(views), one_size=False)
        large = len(views) if self.target_views is None else min(self.target_views, len(views))
        online: list[Tensor] = []
        for same in _by_size(views):
            online += self.critic(encoder(torch.cat(same))).chunk(len(same))
        if self.target is None:
            target = online[:large]
        else:
            target = list(self.target(torch.cat(list(views[:large]))).chunk(large))
        out = relic_loss(
            online,
            self.candidates(target),
            temperature=self.temperature(),
            alpha=self.alpha,
            divergence=self.divergence,
            penalty_stop_gradient=self.penalty_stop_gradient,
            normalize=self.normalize,
            block_size=self.block_size,
            positive_offset=self.offset(len(views[0])),
            anchor_group=groups,
            target_group=None if groups is None else self.candidates([groups])[0],
        )
        metrics = {"contrastive": out.contrastive, "invariance": out.invariance, "accuracy": out.accuracy}
        detached = {name: value.detach() for name, value in metrics.items()}
        return ObjectiveOutput(out.total, detached | self.temperature.metrics())

    def update_target(self, encoder: Encoder) -> None:
        """One step of the average; nothing where h = f."""
        if self.target is not None:
            self.target.update(encoder, self.critic)


def _by_size(views: Sequence[Tensor]) -> list[list[Tensor]]:
    """Neighbouring views of one height and width together, so that each size is one pass of the encoder."""
    runs: list[list[Tensor]] = []
    for view in views:
        if runs and runs[-1][0].shape == view.shape:
            runs[-1].append(view)
        else:
            runs.append([view])
    return runs
