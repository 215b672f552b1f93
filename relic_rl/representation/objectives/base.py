"""What every objective is, and what several of them share.

Every encoder pass takes all views in one batch (batch-norm statistics, where an encoder or a critic has them,
are those of all views together). Losses are computed in float32 or wider whatever the autocast type of the
networks.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from relic_rl.representation.encoders import Encoder
from relic_rl.representation.gather import gather_views, row_offset


class ObjectiveOutput(NamedTuple):
    """What an objective says of a batch.

    Attributes:
        loss: 0-d tensor with gradient to encoder and objective.
        metrics: detached 0-d tensors by name: the terms of the loss, and `accuracy`, the share of anchors
            that score their own positive above every other candidate.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """A loss on views of the same images (B: images, V: views), with the critic and the target that it needs.

    The encoder is passed in at each call and never becomes a part of the objective, so
    `objective.parameters()` are those that only the objective has: an optimiser needs them and the encoder's.

    Attributes:
        takes_groups: whether `forward` accepts groups.
        gathered: whether, of several processes, each contrasts its images with those of all, or with its own only.
    """

    takes_groups: ClassVar[bool] = False
    gathered: bool = True

    @abstractmethod
    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """Loss and metrics.

        Args:
            encoder: the online encoder.
            views: V augmented views of the same B images, each [B, C, H, W], uint8 or float in [0, 1].
            groups: int64 [B] or None; candidates of an anchor's own group are left out of its contrast set,
                its positive excepted. With several processes the numbers must be unique over all of them.

        Raises:
            ValueError: too few or too many views, views of different shapes, or groups where the objective
            takes none.
        """

    def update_target(self, encoder: Encoder) -> None:
        """Move the target, if there is one, towards the online networks; after each optimiser step."""

    def candidates(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The rows that this process's are contrasted with, of its own, several tensors [B, ...] alike in shape and
        type: those of all processes, [R * B, ...], or its own.
        """
        return gather_views(rows) if self.gathered else list(rows)

    def offset(self, num_rows: int) -> int:
        """Where this process's B rows start among the candidates."""
        return row_offset(num_rows) if self.gathered else 0

    def check(self, views: Sequence[Tensor], groups: Tensor | None, *, most: int = 2, one_size: bool = True) -> None:
        """Refuse what `forward` cannot take.

        Args:
            views: see `forward`.
            groups: see `forward`.
            most: the largest number of views.
            one_size: whether all views must have the same height and width.
        """
        if not 2 <= len(views) <= most:
            expected = "two views" if most == 2 else "at least two views"
            raise ValueError(f"{type(self).__name__} needs {expected}, got {len(views)}")
        fixed = 4 if one_size else 2
        if any(view.shape[:fixed] != views[0].shape[:fixed] or view.dtype != views[0].dtype for view in views):
            shapes = ", ".join(str(list(view.shape)) for view in views)
            raise ValueError(f"views must have one shape and type, got {shapes}")
        if groups is None:
            return
        if not self.takes_groups:
            raise ValueError(f"{type(self).__name__} takes no groups: all candidates are contrasted")
        if groups.shape != views[0].shape[:1]:
            raise ValueError(f"groups must be [B] = {list(views[0].shape[:1])}, got {list(groups.shape)}")


class Temperature(nn.Module):
    """The temperature tau, fixed or learned.

    A learned one is held as log(tau), which keeps it positive, and starts at the given value; it has no other
    bound.

    Args:
        initial: tau > 0.
        learnable: whether it is a parameter.

    Raises:
        ValueError: tau is not positive and finite.
    """

    def __init__(self, initial: float, *, learnable: bool = False) -> None:
        super().__init__()
        if not 0 < initial < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {initial}")
        self.fixed = None if learnable else initial
        self.log_tau = nn.Parameter(torch.tensor(math.log(initial))) if learnable else None

    def forward(self) -> float | Tensor:
        """Tau, as a 0-d tensor with gradient where it is learned."""
        if self.log_tau is not None:
            return self.log_tau.exp()
        assert self.fixed is not None
        return self.fixed

    def metrics(self) -> dict[str, Tensor]:
        """The learned temperature by name; nothing where it is fixed."""
        return {} if self.log_tau is None else {"temperature": self.log_tau.detach().exp()}


def full_precision(tensor: Tensor) -> torch.autocast:
    """The context in which losses are computed: no autocast on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in its own type where that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@torch.no_grad()
def accuracy(scores: Tensor, positive_offset: int) -> Tensor:
    """Share of rows i of scores [N, M] whose largest entry is column positive_offset + i."""
    positive = torch.arange(scores.shape[0], device=scores.device) + positive_offset
    return (scores.argmax(dim=1) == positive).float().mean()
