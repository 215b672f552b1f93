"""What pretraining learns by: one update from images to weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from relic_rl.evaluation.collapse import feature_health
from relic_rl.evaluation.online_probe import FeatureTap, OnlineProbe
from relic_rl.images.batches import ImageBatch
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives import Objective
from relic_rl.representation.view_recipes import view_draws
from relic_rl.representation.views import ViewMaker
from relic_rl.runtime.device_means import DeviceMeans
from relic_rl.runtime.distributed import accumulate, mean_over_processes, parallel
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.optimisers import set_learning_rate
from relic_rl.runtime.precision import autocast
from relic_rl.runtime.schedules import decay_to_one, warmup_cosine


class Step(nn.Module):
    """Encoder and objective as one module, for what averages gradients over processes."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, views: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of views."""
        out = self.objective(self.encoder, views)
        return out.loss, out.metrics


class PretrainLearner:
    """Encoder, objective and optimiser, and the schedules that they follow.

    Augmentation and schedules are functions of the update alone, so `state_dict` is all that continuing takes.

    Args:
        encoder: on its device.
        objective: on the same one.
        optimiser: of both.
        views: makes views of images.
        probe: learns beside the encoder; None for no probe.
        draws_key: of the views' random numbers.
        peak_learning_rate: the highest learning rate.
        warmup: updates before it is reached.
        total: updates of the run.
        parts: batches that an update is computed in, one after the other.
        batch_size: images of a batch over all processes.
        rows: this process's rows of a batch.
        target_decay: the first one, for a decay that goes to 1; None for a constant one, or no target.
        max_grad_norm: limit of the global gradient norm; None for none.
        device: where to compute.
        dtype: autocast's; None for fp32.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective,
        optimiser: torch.optim.Optimizer,
        views: ViewMaker,
        probe: OnlineProbe | None,
        *,
        draws_key: int,
        peak_learning_rate: float,
        warmup: int,
        total: int,
        parts: int,
        batch_size: int,
        rows: slice,
        target_decay: float | None,
        max_grad_norm: float | None,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.encoder = encoder
        self.objective = objective
        self.optimiser = optimiser
        self.views = views
        self.probe = probe
        self.draws_key = draws_key
        self.peak_learning_rate = peak_learning_rate
        self.warmup = warmup
        self.total = total
        self.parts = parts
        self.batch_size = batch_size
        self.rows = rows
        self.target_decay = target_decay
        self.device = device
        self.dtype = dtype
        self.updates = 0
        self.means = DeviceMeans()
        self.guard = GradientGuard(max_grad_norm or float("inf"))
        self._model = parallel(Step(encoder, objective), device)
        self._trained = [p for group in optimiser.param_groups for p in group["params"]]
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self._tap = FeatureTap(encoder)

    def update(self, batches: Iterator[ImageBatch]) -> None:
        """One update from the next `parts` batches; its metrics go into `means`.

        Each part contrasts its own images only: the contrast set is `batch_size`, however many parts there are.
        """
        rate = warmup_cosine(self.updates, peak=self.peak_learning_rate, warmup=self.warmup, total=self.total)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        losses = [self._differentiate(next(batches), last=part == self.parts - 1) for part in range(self.parts)]
        # The same number in every process, so that all skip an update or none.
        loss = mean_over_processes(torch.stack(losses).mean())
        self._scaler.unscale_(self.optimiser)
        self.encoder.centre_gradients()
        norm = self.guard.clip(self._trained, loss)
        if self.guard.sound:
            self._scaler.step(self.optimiser)
            self.encoder.centre_weights()
            self._move_target()
        if self.dtype == torch.float16:
            self._scaler.update()
        self.means.add({"gradient_norm": norm, "learning_rate": torch.full_like(norm, rate)})
        self.updates += 1

    def _differentiate(self, batch: ImageBatch, last: bool) -> Tensor:
        """Add a part's gradients; its loss, detached."""
        images = (
            batch.images.to(self.device, non_blocking=True)
            if isinstance(batch.images, Tensor)
            else [view.to(self.device, non_blocking=True) for view in batch.images]
        )
        labels = batch.labels.to(self.device, non_blocking=True)
        num_views = len(self.views.recipes)
        views = self.views(images, view_draws(self.draws_key, batch.number, num_views, self.batch_size, self.rows))
        with accumulate(self._model, last):
            with autocast(self.device, self.dtype):
                loss, terms = self._model(views)
            self._scaler.scale(loss / self.parts).backward()
        features = self._tap.first(len(labels))
        metrics = {"loss/total": loss} | {_logged(name): value for name, value in terms.items()}
        if self.probe is not None:
            metrics |= self.probe.learn(features, labels)
        self.means.add(metrics | feature_health(features))
        detached: Tensor = loss.detach()
        return detached

    def _move_target(self) -> None:
        """Move the target towards the online networks, by the schedule's decay."""
        target = getattr(self.objective, "target", None)
        if target is not None and self.target_decay is not None:
            target.decay = decay_to_one(self.updates, base=self.target_decay, total=self.total)
        self.objective.update_target(self.encoder)

    def state_dict(self) -> dict[str, Any]:
        """Everything learning continues from, as tensors and plain values."""
        return {
            "encoder": self.encoder.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "guard": self.guard.state_dict(),
            "probe": None if self.probe is None else self.probe.state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.encoder.load_state_dict(state["encoder"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.guard.load_state_dict(state["guard"])
        if self.probe is not None and state["probe"] is not None:
            self.probe.load_state(state["probe"])
        self.updates = state["updates"]


def _logged(term: str) -> str:
    """The key under which an objective's metric is logged."""
    return f"contrast/{term}" if term in ("accuracy", "temperature") else f"loss/{term}"
