"""Optimisers of pretraining: AdamW and LARS, with biases and normalisation left out of decay and adaptation.

Source of LARS: You, Gitman and Ginsburg, 2017 (arXiv 1708.03888); in the form of SimCLR and BYOL, where the
momentum is taken of the update after the learning rate's trust ratio, and decay is part of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimiserName = Literal["lars", "adamw"]


class Lars(torch.optim.Optimizer):
    """Momentum whose step is scaled, tensor by tensor, to a fixed share of the weights' own norm.

        g <- grad + weight_decay * w
        g <- g * trust * |w| / |g|      (where both norms are above 0, and the group is adapted)
        v <- momentum * v + g
        w <- w - learning rate * v

    Args:
        groups: parameters or groups of them; a group may set `adapt` to False (no trust ratio).
        lr: learning rate, above 0.
        momentum: in [0, 1).
        weight_decay: at least 0.
        trust: the paper's eta.
    """

    def __init__(
        self,
        groups: Any,
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; there is no closure."""
        assert closure is None
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            update = [p.grad for p in weights]
            if group["weight_decay"]:
                update = list(torch._foreach_add(update, weights, alpha=group["weight_decay"]))
            if group["adapt"]:
                update = list(torch._foreach_mul(update, _trust_ratios(weights, update, group["trust"])))
            momenta = [self._momentum(p) for p in weights]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, update)
            torch._foreach_add_(weights, momenta, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


def _trust_ratios(weights: list[Tensor], update: list[Tensor], trust: float) -> list[Tensor]:
    """One 0-d tensor per weight; nothing waits for the device."""
    ratios = []
    for weight, gradient in zip(torch._foreach_norm(weights), torch._foreach_norm(update), strict=True):
        sound = (weight > 0) & (gradient > 0)
        ratios.append(torch.where(sound, trust * weight / torch.where(sound, gradient, 1.0), 1.0))
    return ratios


def build_optimiser(
    name: OptimiserName,
    modules: Iterable[nn.Module],
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """An optimiser over everything that is trained in some modules.

    Vectors and scalars (biases, the weights of normalisation layers, a learned temperature) are decayed by
    nothing and, under LARS, not adapted: their norms say nothing about a sensible step.

    Args:
        name: "lars" or "adamw" (betas 0.9 and 0.95, the practice of self-supervised training).
        modules: what is trained; a parameter that they share counts once.
        learning_rate: the first one; a schedule sets it anew at every update.
        weight_decay: of matrices and kernels.
        momentum: of LARS.
    """
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values()
    kernels = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), foreach=True)
    groups[1]["adapt"] = False
    return Lars(groups, learning_rate, momentum=momentum)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Let the coming updates of all groups use this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
