"""The one way to an environment: ``make_vector_env``."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal, get_args

import numpy as np

from envs.ids import parse_env_id
from envs.protocols import AtariProtocol, get_protocol
from envs.seeds import env_seeds
from envs.toy import TOYS
from envs.types import VectorEnv

Engine = Literal["envpool", "ale"]
_PACKAGES = {"envpool": "envpool", "ale": "ale_py"}


def make_vector_env(
    env_id: str,
    num_envs: int,
    *,
    engine: Engine = "envpool",
    protocol: str | AtariProtocol = "v5",
    seed: np.random.SeedSequence | int,
    first_env: int = 0,
    num_threads: int = 0,
    max_episode_steps: int | None = None,
    **options: Any,
) -> VectorEnv:
    """Build N environments behind the one interface.

    Args:
        env_id: ``ALE/Pong-v5``, a toy such as ``relic/Catch-v0``, or what gymnasium knows, ``module:Name-v0``
            included.
        num_envs: N.
        engine: what runs Atari games; no other environment heeds it.
        protocol: rules of Atari games, by name or as a value; no other environment heeds it.
        seed: integer from 0, or a SeedSequence, left as it is. Environment i's seed depends on it and i only.
        first_env: index of the first environment, where these are a part of more: of N + M environments the last M
            are those that M with ``first_env`` N are.
        num_threads: engine threads of Atari games; 0 = one per core.
        max_episode_steps: time limit in agent steps; None = the protocol's, or the environment's own.
        **options: of a toy, its own arguments (``size``, ``length``); of a gymnasium environment, ``stack``
            (frames per observation, default 1) and what its constructor takes. Atari games have none.

    Returns:
        An environment that has not been reset.

    Raises:
        ValueError: unknown environment, engine or protocol, engine not installed, or an environment without
            images or without discrete actions; one line says how to mend it.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}: give at least 1")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps is {max_episode_steps}: give at least 1, or None")
    parsed = parse_env_id(env_id)
    seeds = env_seeds(seed, num_envs, first_env)
    if parsed.kind == "atari":
        if options:
            raise ValueError(f"{parsed.canonical} takes no options, got {', '.join(options)}")
        _check_engine(engine)
        rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
        if max_episode_steps is not None:
            rules = rules.with_limit(max_episode_steps)
        if engine == "envpool":
            from envs.envpool_engine import EnvpoolAtari  # noqa: PLC0415 (slow, only if needed)

            return EnvpoolAtari(parsed.name, rules, seeds, num_threads=num_threads)
        from envs.ale_engine import AleAtari  # noqa: PLC0415 (slow, only if needed)

        return AleAtari(parsed.name, rules, seeds, num_threads=num_threads)
    if parsed.kind == "toy":
        return TOYS[parsed.name](seeds, max_episode_steps=max_episode_steps, **options)
    from envs.gymnasium_engine import GymnasiumImages  # noqa: PLC0415 (slow, only if needed)

    return GymnasiumImages(parsed.name, seeds, max_episode_steps=max_episode_steps, **options)


def validate_env_id(env_id: str, engine: str = "envpool", protocol: str = "v5") -> None:
    """Check, before work starts, that ``make_vector_env`` will find what it needs.

    Atari games and toys are checked by name, without importing an engine; a gymnasium environment is built
    once.

    Raises:
        ValueError: as ``make_vector_env``.
    """
    get_protocol(protocol)
    parsed = parse_env_id(env_id)
    if parsed.kind == "atari":
        _check_engine(engine)
    elif parsed.kind == "gymnasium":
        from envs.gymnasium_engine import check  # noqa: PLC0415 (slow, only if needed)

        check(parsed.name)


def _check_engine(engine: str) -> None:
    if engine not in get_args(Engine):
        raise ValueError(f"unknown engine {engine!r}: choose {' or '.join(get_args(Engine))}")
    if importlib.util.find_spec(_PACKAGES[engine]) is None:
        hint = "it ships for Linux only: use engine 'ale'" if engine == "envpool" else "pip install ale-py"
        raise ValueError(f"engine {engine!r} is not installed: {hint}")
