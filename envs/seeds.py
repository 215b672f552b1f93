"""Seeds of single environments, spawned from one seed."""

from __future__ import annotations

import numpy as np

# Atari engines read a seed as a signed 32-bit integer and do not take 0 or less for one.
_MAX_SEED = 2**31 - 1


def env_seeds(seed: np.random.SeedSequence | int, num_envs: int, first: int = 0) -> list[int]:
    """One seed per environment, from 1 to 2^31 - 1.

    Environment i's seed depends on ``seed`` and i only. Seeds s and s + 1 give unrelated lists, unlike the
    consecutive seeds that the engines make from one integer, which would share all streams but one.

    Args:
        seed: an integer from 0, or a SeedSequence, which is left as it is (nothing is spawned from it).
        num_envs: N.
        first: index of the first of them, from 0, where there are others before.

    Raises:
        ValueError: ``seed`` is negative.
    """
    if isinstance(seed, int):
        if seed < 0:
            raise ValueError(f"seed is {seed}: give an integer from 0")
        seed = np.random.SeedSequence(seed)
    children = (
        np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i), pool_size=seed.pool_size)
        for i in range(first, first + num_envs)
    )
    return [1 + int(child.generate_state(1, np.uint64)[0]) % _MAX_SEED for child in children]
