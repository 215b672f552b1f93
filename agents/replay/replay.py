"""Prioritised sequence replay: every frame is stored once, whatever the stack and the overlap.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning" (R2D2), sec. 2.3.

Departures: one ring of rows per environment, all written in step, in place of a table of copied sequences; see
`agents.replay.sampler` for the priority of new sequences.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.replay import persistence
from agents.replay.accumulator import Accumulator
from agents.replay.arrays import Arrays, allocate
from agents.replay.batch import SequenceBatch
from agents.replay.errors import ReplayError
from agents.replay.geometry import ReplayGeometry
from agents.replay.sampler import PrioritizedSampler
from agents.replay.storage import ENDS_EPISODE, ENDS_RETURN, NO_ACTION, Storage
from envs.types import EnvStep


class Observations(NamedTuple):
    """Single observations (B: batch)."""

    images: Tensor  # uint8 [B, S * C, H, W]
    group: Tensor  # int64 [B], equal for observations of one episode, and only for these


class SequenceReplay:
    """Takes vector steps, gives batches of sequences.

    Each vector step is one row: the newest frame of every environment with the action, reward and flags of the
    transition that led to it. A sequence is known by its first trained row, and every place a row may lie in has its
    leaf in the sum tree. Rows are numbered for ever, so the number also tells whether a sequence's data are still
    there. A sequence is given up when one of the rows it reads is about to be overwritten.

    Args:
        geometry: what is stored, and how much of it.
        directory: keep the arrays on disk, in this folder, from where `load` opens them again; what was in it is
            overwritten. None = in memory.
        priority_exponent: alpha in P(i) = p_i^alpha / sum_k p_k^alpha.
        importance_exponent: beta in w_i = (P(i))^-beta / max_j w_j.
        pin_memory: hand out frames in pinned memory, for faster copies to a GPU.

    Raises:
        ReplayError: memory or disk do not suffice.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        geometry: ReplayGeometry,
        *,
        directory: Path | None = None,
        priority_exponent: float = 0.9,
        importance_exponent: float = 0.6,
        pin_memory: bool = False,
    ) -> None:
        geometry.memory(directory).check()
        arrays = allocate(geometry.flat_specs(), directory)
        self._attach(geometry, arrays, directory, priority_exponent, importance_exponent, pin_memory)
        if directory is not None:
            self.save(directory)  # from now on the folder can be opened again, even after a kill

    @classmethod
    def load(
        cls,
        directory: Path,
        geometry: ReplayGeometry,
        *,
        mapped: bool,
        priority_exponent: float = 0.9,
        importance_exponent: float = 0.6,
        pin_memory: bool = False,
    ) -> SequenceReplay:
        """A replay saved in ``directory``, checked.

        A replay kept on disk may hold more rows than when `save` was last called: its process was killed. They are
        kept, and the episodes that were open count as interrupted.

        Args:
            directory: where it was saved.
            geometry: must be the one it was made with.
            mapped: go on in these files; else read them into memory.
            priority_exponent: as for the class.
            importance_exponent: as for the class.
            pin_memory: as for the class.

        Raises:
            ReplayError: there is none, it is damaged, it is another one, or memory does not suffice.
        """
        if not mapped:
            geometry.memory().check()
        arrays, summary = persistence.read(directory, geometry, mapped=mapped)
        replay = cls.__new__(cls)
        home = directory if mapped else None
        replay._attach(geometry, arrays, home, priority_exponent, importance_exponent, pin_memory)
        try:
            replay.self_check(summary if replay.position == summary.position else None)
        except ReplayError as error:
            raise ReplayError(
                f"replay {directory} is damaged: {error}; delete it to start with an empty one"
            ) from error
        if replay.position != summary.position:
            replay._interrupt()
        return replay

    def _attach(
        self,
        geometry: ReplayGeometry,
        arrays: Arrays,
        directory: Path | None,
        priority_exponent: float,
        importance_exponent: float,
        pin_memory: bool,
    ) -> None:
        """Build the three parts around arrays, empty or restored."""
        self.geometry = geometry
        self._arrays = arrays
        self._directory = directory
        self._pin_memory = pin_memory
        layout = geometry.layout
        compressed = geometry.compressed_bytes is not None
        self._storage = Storage(arrays, layout, compressed=compressed)
        self._sampler = PrioritizedSampler(
            arrays, priority_exponent=priority_exponent, importance_exponent=importance_exponent
        )
        last = (self.position - 1) % geometry.rows
        nothing = np.full(geometry.num_envs, -1, dtype=np.int32)
        age = self._storage.age[last] if self.position else nothing
        self._accumulator = Accumulator(layout, age, self._storage.flags[last] & ENDS_EPISODE > 0)

    # ------------------------------------------------------------------ writing

    @property
    def position(self) -> int:
        """Vector steps ever added."""
        return self._storage.position

    @property
    def num_observations(self) -> int:
        """Observations that are there, summed over environments."""
        return (self._storage.position - self._storage.oldest) * self.geometry.num_envs

    @property
    def num_sequences(self) -> int:
        """Sequences that can be drawn."""
        return int(np.count_nonzero(self._sampler.tree.leaves))

    def add(
        self,
        step: EnvStep,
        action: NDArray[np.integer],
        state: Tensor | None,
        ends_return: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add a vector step; every step must be added, those of `reset()` included, in order.

        Args:
            step: what the environments returned.
            action: integers [N], the actions that led to it; ignored where the step is invented.
            state: float32 [2, N, D], the LSTM's (h, c) with which the network reads ``step``, on any device; None if D
                is 0.
            ends_return: bool [N], nothing to bootstrap from at this step; None means ``step.terminated``.

        Raises:
            ReplayError: the step does not follow the one before, or its observations are not what the geometry says.
        """
        geometry, storage = self.geometry, self._storage
        frames = self._newest_frames(step)
        row = self._accumulator.add(storage.position, step.invented, step.terminated | step.truncated)
        if row.interrupted.any():
            storage.end_episodes(np.flatnonzero(row.interrupted))
        horizon = self._horizon()
        storage.make_room(frames)
        self._forget(horizon, self._horizon())

        needed = np.flatnonzero((row.age > 0) & (row.age % geometry.layout.spacing == 0))
        if state is not None and len(needed):
            chosen = state.detach()[:, torch.from_numpy(needed).to(state.device)]
            storage.write_state(needed, chosen.transpose(0, 1).float().cpu().contiguous().numpy())
        ends = step.terminated if ends_return is None else ends_return
        storage.write(
            frames,
            action=np.where(step.invented, NO_ACTION, action).astype(np.int16),
            reward=np.where(step.invented, 0, step.reward).astype(np.float32),
            flags=ends * ENDS_RETURN + (step.terminated | step.truncated) * ENDS_EPISODE,
            age=row.age,
        )
        there = row.start >= self._horizon()
        self._sampler.insert(self._leaf(row.start[there], row.env[there]))

    def _newest_frames(self, step: EnvStep) -> NDArray[np.uint8]:
        """The newest frame of every environment, uint8 [N, F]."""
        geometry = self.geometry
        expected = (geometry.num_envs, *geometry.observation_shape)
        images = step.observation
        if images.shape != expected or images.dtype != np.uint8:
            raise ReplayError(
                f"observations are {images.dtype} {list(images.shape)}, the replay was made for uint8 {list(expected)}"
            )
        channels = geometry.frame_shape[0]
        first = images[step.invented].reshape(-1, geometry.stack, *geometry.frame_shape)
        if (first != first[:, -1:]).any():
            raise ReplayError(
                f"an episode's first observation is not one frame repeated {geometry.stack} times: "
                "give the stack that the environment uses, or 1"
            )
        newest = images[:, -channels:].reshape(geometry.num_envs, geometry.frame_bytes)
        return np.ascontiguousarray(newest)

    def _horizon(self) -> int:
        """Sequences that start before this row have lost, or are about to lose, rows that they read."""
        oldest = self._storage.oldest
        return oldest + self.geometry.margin if oldest else 0

    def _forget(self, begin: int, end: int) -> None:
        """Give up all sequences that start in rows ``begin`` to ``end - 1``."""
        if end > begin:
            row = np.repeat(np.arange(begin, end), self.geometry.num_envs)
            self._sampler.remove(self._leaf(row, np.tile(np.arange(self.geometry.num_envs), end - begin)))

    def _interrupt(self) -> None:
        """Let all open episodes end with their last rows; a process that was killed left them so."""
        storage = self._storage
        if storage.position:
            last = (storage.position - 1) % storage.rows
            # The next row must be the first of an episode: the accumulator then completes what is open.
            storage.age[last], storage.flags[last]

    def _leaf(self, start: NDArray[np.int64], env: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leaves of the sequences that start in rows [K] of environments [K]."""
        return (start % self.geometry.rows) * self.geometry.num_envs + env
