"""The size and shape of a replay, from which its memory follows to the byte."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.replay.arrays import ArraySpec
from agents.replay.errors import ReplayError
from agents.replay.layout import SequenceLayout
from agents.replay.memory import ReplayMemory
from agents.replay.sampler import PrioritizedSampler
from agents.replay.storage import Storage
from agents.replay.sum_tree import inner_sizes, padded


@dataclass(frozen=True)
class ReplayGeometry:
    """What is stored, and how much of it.

    Args:
        num_envs: N.
        observation_shape: (S * C, H, W) of the uint8 observations.
        capacity: observations kept, summed over environments, rounded up to whole rows. An episode of n
            transitions has n + 1 observations.
        stack: S, frames of C channels each, stacked along the channels, oldest first; 1 for images that are
            no stacks.
        state_size: D, units of the LSTM; 0 for none.
        layout: lengths of sequences.
        compressed_bytes: compress frames losslessly into this many bytes in all; rows that no longer fit are
            given up before ``capacity`` is reached. None = store them as they are.

    Raises:
        ReplayError: an argument is out of range.
    """

    num_envs: int
    observation_shape: tuple[int, int, int]
    capacity: int
    stack: int
    state_size: int
    layout: SequenceLayout = field(default_factory=SequenceLayout)
    compressed_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.num_envs < 1 or self.state_size < 0:
            raise ReplayError("a replay needs at least one environment and a state size of at least 0")
        channels = self.observation_shape[0]
        if self.stack < 1 or channels % self.stack:
            raise ReplayError(
                f"observations of {channels} channels are no stack of {self.stack} frames: "
                "give the number of frames, or 1"
            )
        if self.rows < self.least_rows:
            raise ReplayError(
                f"a replay of {self.capacity} observations cannot hold one sequence of each of "
                f"{self.num_envs} environments: give a capacity of at least {self.least_rows * self.num_envs}"
            )
        if self.compressed_bytes is not None and self.compressed_bytes < self.least_compressed_bytes:
            raise ReplayError(
                f"{self.compressed_bytes} bytes for compressed frames may not hold one sequence of each "
                f"environment: give at least {self.least_compressed_bytes}"
            )

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a single frame."""
        channels, height, width = self.observation_shape
        return channels // self.stack, height, width

    @property
    def frame_bytes(self) -> int:
        """F: bytes of a single frame."""
        return math.prod(self.frame_shape)

    @property
    def rows(self) -> int:
        """L: observations kept of each environment."""
        unit = self.num_envs * self.layout.spacing
        return -(-self.capacity // unit) * self.layout.spacing

    @property
    def margin(self) -> int:
        """Rows before a sequence's first trained one that must still be there for it to be drawn.

        These are its burn-in, and before that the frames of the first stack or, if that is more, the rows
        whose states share a place with the state it starts from.
        """
        return self.layout.burn_in + max(self.stack, self.layout.spacing) - 1

    @property
    def least_rows(self) -> int:
        """The fewest rows that can hold a sequence of every environment, wherever in the ring it lies."""
        return self.margin + self.layout.length + self.layout.n_step + self.layout.spacing

    @property
    def least_compressed_bytes(self) -> int:
        """Room for `least_rows` rows that do not shrink, and for one that is skipped at the ring's end."""
        return (self.least_rows + 1) * self.num_envs * self.frame_bytes

    def specs(self) -> dict[str, dict[str, ArraySpec]]:
        """All arrays, by what they are for."""
        specs = Storage.specs(
            self.layout,
            rows=self.rows,
            num_envs=self.num_envs,
            frame_bytes=self.frame_bytes,
            state_size=self.state_size,
            compressed_bytes=self.compressed_bytes,
        )
        return specs | {"priorities": PrioritizedSampler.specs(self.rows * self.num_envs)}

    def flat_specs(self) -> dict[str, ArraySpec]:
        """All arrays by name."""
        return {name: spec for part in self.specs().values() for name, spec in part.items()}

    def memory(self, directory: Path | None = None) -> ReplayMemory:
        """Exactly what the replay will take, in memory or on disk in ``directory``."""
        size = {part: sum(spec.nbytes for spec in specs.values()) for part, specs in self.specs().items()}
        leaves = padded(self.rows * self.num_envs)
        return ReplayMemory(
            frames=size["frames"],
            fields=size["fields"],
            states=size["states"],
            priorities=size["priorities"],
            tree=8 * sum(inner_sizes(leaves)),
            rows=self.rows * self.num_envs,
            directory=directory,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self)
        plain["observation_shape"] = list(self.observation_shape)
        return plain

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> ReplayGeometry:
        """The geometry that `to_json` described."""
        values = dict(plain)
        values["layout"] = SequenceLayout(**values["layout"])
        values["observation_shape"] = tuple(values["observation_shape"])
        return ReplayGeometry(**values)
