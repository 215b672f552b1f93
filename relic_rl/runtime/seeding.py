"""Independent named streams of random numbers, all from one seed."""

from __future__ import annotations

import hashlib
import random
from typing import Any

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

    def state_dict(self) -> dict[str, Any]:
        """Where every generator made so far stands: tensors and plain Python values."""
        return {
            "numpy": {name: generator.bit_generator.state for name, generator in self._numpy.items()},
            "torch": {name: generator.get_state() for name, generator in self._torch.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``. torch's generators must have been made, since they belong to a
        device.

        Raises:
            ValueError: a torch generator of the state has not been made.
        """
        for name, numpy_state in state["numpy"].items():
            self.numpy(name).bit_generator.state = numpy_state
        for name, torch_state in state["torch"].items():
            if name not in self._torch:
                raise ValueError(f"the stream {name!r} must be made before its state is loaded")
            self._torch[name].set_state(torch_state.cpu())


def rng_state() -> dict[str, Any]:
    """Where the global generators of Python and torch (CPU, CUDA) stand: tensors and plain Python values."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Continue from `rng_state`; the state of CUDA devices that are not here is left out."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"].cpu())
    for index, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state.cpu(), index)
