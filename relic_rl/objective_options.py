"""From a door's options to its objective: the options that both doors share by name."""

from __future__ import annotations

from typing import Any

from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives import Objective, build_objective
from relic_rl.representation.objectives.build import OBJECTIVE_OPTIONS


def used_options(config: Any) -> dict[str, Any]:
    """Those of a door's options that its objective uses, beyond the dimensions of its networks."""
    used = OBJECTIVE_OPTIONS[config.objective]
    return {name: getattr(config, name) for name in used if hasattr(config, name)}


def objective_from_options(config: Any, encoder: Encoder, **more: Any) -> Objective | None:
    """The objective that options name, on the encoder's device; None where it has no loss of its own.

    Args:
        config: an options dataclass of a door: ``objective``, the dimensions of its networks, and whichever of
            OBJECTIVE_OPTIONS the door offers.
        encoder: the online encoder, its weights loaded.
        **more: further arguments of `build_objective`.
    """
    options = used_options(config)
    if config.target == "online":
        options.pop("target_decay", None)
    return build_objective(
        config.objective,
        encoder,
        projection_dim=config.projection_dim,
        hidden_dim=config.hidden_dim,
        critic_layers=config.critic_layers,
        **options | more,
    )
