"""Objectives by name."""

import difflib
from collections.abc import Callable
from typing import Any, Literal

from relic_rl.losses.invariance import StopGradient
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives.amdim import AMDIMObjective
from relic_rl.representation.objectives.base import Objective
from relic_rl.representation.objectives.byol import BYOLObjective
from relic_rl.representation.objectives.curl import CURLObjective
from relic_rl.representation.objectives.relic import RelicObjective
from relic_rl.representation.objectives.simclr import SimCLRObjective

OBJECTIVES = ("none", "augment", "relic", "infonce", "simclr", "byol", "curl", "amdim")
"""`none` and `augment` have no auxiliary loss; `augment` changes what the RL loss sees, in the agent."""

_TEMPERATURE = ("temperature", "learnable_temperature")
_CONTRAST = (*_TEMPERATURE, "normalize", "block_size", "target_views", "target", "target_decay")
OBJECTIVE_OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "augment": (),
    "relic": (*_CONTRAST, "alpha", "divergence", "penalty_stop_gradient"),
    "infonce": _CONTRAST,
    "simclr": _TEMPERATURE,
    "byol": ("target_decay",),
    "curl": ("target_decay",),
    "amdim": (),
}
"""Which of `build_objective`'s options each objective uses, beyond the dimensions of its networks."""


def build_objective(
    name: str,
    encoder: Encoder,
    *,
    projection_dim: int = 128,
    hidden_dim: int = 512,
    critic_layers: int = 2,
    batch_norm: bool = False,
    temperature: float | None = None,
    learnable_temperature: bool | None = None,
    alpha: float | None = None,
    divergence: str | None = None,
    penalty_stop_gradient: StopGradient | None = None,
    normalize: bool | None = None,
    block_size: int | None = None,
    target_views: int | None = None,
    target: Literal["ema", "online"] | None = None,
    target_decay: float | None = None,
) -> Objective | None:
    """An objective for this encoder, on its device, with fresh weights drawn from torch's global generator.

    An option that is None takes the objective's default. One that the objective does not use
    (OBJECTIVE_OPTIONS) must be left None.

    Args:
        name: one of OBJECTIVES.
        encoder: the online encoder; a target copies its present weights, so load them first.
        projection_dim: D, the critic's number of outputs.
        hidden_dim: hidden units of a critic of two layers, and of BYOL's predictor.
        critic_layers: 1 or 2.
        batch_norm: batch-normalise the hidden units of critics and predictor; see `Critic`.
        temperature: tau, 0.1 by default.
        learnable_temperature: learn log(tau), starting from temperature.
        alpha: weight of RELIC's invariance penalty, 1 by default.
        divergence: the penalty's divergence, "kl" by default.
        penalty_stop_gradient: which argument of the divergence is held fixed; None for neither.
        normalize: L2-normalise outputs, True by default.
        block_size: anchor rows at a time; None for the dense form.
        target_views: how many of the views are targets too; None for all.
        target: "ema", the default, or "online" (h = f).
        target_decay: fraction of the old average kept at each update, 0.99 by default; not with target
            "online".

    Returns:
        The objective; None for "none" and "augment".

    Raises:
        ValueError: unknown name, an option that the objective does not use, or a value outside its range.
    """
    if name not in OBJECTIVES:
        nearest = difflib.get_close_matches(name, OBJECTIVES, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"choose one of {', '.join(OBJECTIVES)}"
        raise ValueError(f"unknown objective {name!r}: {hint}")
    options = {
        "temperature": temperature,
        "learnable_temperature": learnable_temperature,
        "alpha": alpha,
        "divergence": divergence,
        "penalty_stop_gradient": penalty_stop_gradient,
        "normalize": normalize,
        "block_size": block_size,
        "target_views": target_views,
        "target": target,
        "target_decay": target_decay,
    }
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    unused = [option for option in given if option not in OBJECTIVE_OPTIONS[name]]
    if unused:
        raise ValueError(f"objective {name} does not use {', '.join(unused)}: leave it out")
    if given.pop("target", "ema") == "online":
        if target_decay is not None:
            raise ValueError("target online has no average: leave target_decay out, or set target ema")
        given["target_decay"] = None
    elif target not in (None, "ema"):
        raise ValueError(f"target must be ema or online, got {target!r}")
    if name in ("none", "augment"):
        return None

    def critic(in_dim: int, hidden: int = hidden_dim, layers: int = critic_layers) -> Critic:
        return Critic(in_dim, hidden, projection_dim, layers, batch_norm=batch_norm)

    objective = _assemble(name, encoder, critic, projection_dim, given)
    return objective.to(next(encoder.parameters()).device)


def _assemble(
    name: str, encoder: Encoder, critic: Callable[..., Critic], projection_dim: int, options: dict[str, Any]
) -> Objective:
    """The objective of this name, its networks made by `critic(in_dim, hidden, layers)`."""
    on_features = critic(encoder.feature_dim)
    if name == "relic":
        return RelicObjective(encoder, on_features, **options)
    if name == "infonce":
        return RelicObjective(encoder, on_features, alpha=0.0, **options)
    if name == "simclr":
        return SimCLRObjective(on_features, **options)
    if name == "byol":
        return BYOLObjective(encoder, on_features, critic(projection_dim, layers=2), **options)
    if name == "curl":
        return CURLObjective(encoder, on_features, projection_dim, **options)
    # AMDIM's local critics are as wide as their output: they run at every location of a map.
    fine, coarse = (critic(channels, hidden=projection_dim) for channels in encoder.map_channels[-2:])
    return AMDIMObjective(on_features, coarse, fine)
