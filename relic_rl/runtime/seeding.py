"""Independent named streams of random numbers, all from one seed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


class Streams:
    """One stream per purpose ("train_env", "eval_env", "init", "exploration", "replay", "augmentation", ...).

    A stream depends on the seed and its own name only: drawing from one, or adding another, changes no other.

    Args:
        seed: integer, at least 0.

    Raises:
        ValueError: the seed is negative.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}: give an integer from 0")
        self.seed = seed
        self._numpy: dict[str, np.random.Generator] = {}
        self._torch: dict[str, torch.Generator] = {}

    def seed_sequence(self, name: str) -> np.random.SeedSequence:
        """The stream's seeds; the same at every call."""
        digest = hashlib.sha256(name.encode()).digest()
        key = tuple(int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4))
        return np.random.SeedSequence(self.seed, spawn_key=key)

    def integer(self, name: str) -> int:
        """The stream as one seed of 63 bits, for what wants an integer, such as ``torch.manual_seed``."""
        return int(self.seed_sequence(name).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def numpy(self, name: str) -> np.random.Generator:
        """The stream as numpy's generator; each call returns the same one."""
        if name not in self._numpy:
            self._numpy[name] = np.random.default_rng(self.seed_sequence(name))
        return self._numpy[name]

    def torch(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The stream as torch's generator on a device; each call returns the same one.

        Raises:
            ValueError: the stream was made on another device.
        """
        device = torch.device(device)
        if name not in self._torch:
            self._torch[name] = torch.Generator(device).manual_seed(self.integer(name))
        generator = self._torch[name]
        if generator.device.type != device.type:
            raise ValueError(f"the stream {name!r} is on {generator.device}, not on {device}")
        return generator
