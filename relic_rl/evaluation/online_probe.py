"""A linear probe that learns beside an encoder and never touches it, so that a collapse is seen early.

The features that it learns from are those which the objective computes anyway (of augmented views), detached.
What it reports is the accuracy on a batch before it learns from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from relic_rl.representation.batch_norm import synchronise_batch_norm
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.distributed import mean_over_processes


class FeatureTap:
    """Keeps the features of each pass of an encoder in training mode, detached.

    Attach it once all copies of the encoder have been made: a copy would keep features too.

    Args:
        encoder: the encoder; every objective runs its head, whichever way it computes the maps.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._kept: list[Tensor] = []
        self._handle = encoder.head.register_forward_hook(self._keep)

    def first(self, rows: int) -> Tensor:
        """The first rows of the first pass since the last call, [rows, D], float32: the first view's."""
        features = self._kept[0][:rows].float()
        self._kept.clear()
        return features

    def remove(self) -> None:
        """Let go of the encoder."""
        self._handle.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training:  # an evaluation meanwhile is none of the probe's business
            self._kept.append(output.detach())


class OnlineProbe(nn.Module):
    """Standardised features, a linear layer, Adam.

    Args:
        feature_dim: D.
        num_classes: values of the label.
        device: where features are.
        learning_rate: of Adam.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, device: torch.device, *, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(feature_dim, affine=False)
        self.linear = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(self.linear.weight)  # the same on all processes, and none of the encoder's random numbers
        nn.init.zeros_(self.linear.bias)
        self.to(device)
        synchronise_batch_norm(self)
        self.optimiser = torch.optim.Adam(self.linear.parameters(), lr=learning_rate)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [N, K] of features [N, D]."""
        logits: Tensor = self.linear(self.norm(features))
        return logits

    def learn(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One update; the metrics `probe/loss` and `probe/accuracy`, 0-d tensors.

        Args:
            features: [N, D], without gradient.
            labels: int64 [N]; -1 where there is none.
        """
        logits = self(features)
        known = labels >= 0
        count = known.sum().clamp(min=1)
        loss = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / count
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in self.linear.parameters():
            assert parameter.grad is not None
            parameter.grad = mean_over_processes(parameter.grad)
        self.optimiser.step()
        hits = ((logits.argmax(dim=1) == labels) & known).sum() / count
        return {"probe/loss": loss.detach(), "probe/accuracy": hits}

    def state(self) -> dict[str, Any]:
        """Everything the probe continues from."""
        return {"network": self.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
