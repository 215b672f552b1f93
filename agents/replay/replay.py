"""Prioritised sequence replay: every frame is stored once, whatever the stack and the overlap.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning",
sec. 2.3.

Departures: one ring of rows per environment, all written in step, in place of a table of copied sequences;
for the priority of new sequences see `agents.replay.sampler`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.replay import persistence
from agents.replay.accumulator import Accumulator
from agents.replay.arrays import Arrays, allocate
from agents.replay.batch import Observations, SequenceBatch
from agents.replay.errors import ReplayError
from agents.replay.geometry import ReplayGeometry
from agents.replay.reader import read_observations, read_sequences
from agents.replay.sampler import Gather, PrioritizedSampler
from agents.replay.storage import ENDS_EPISODE, ENDS_RETURN, NO_ACTION, Storage
from envs.types import EnvStep
from relic_rl.runtime.profile import section


class SequenceReplay:
    """Takes vector steps, gives batches of sequences.

    Each vector step is one row: the newest frame of every environment with the action, reward and flags of
    the transition that led to it. A sequence is known by its first trained row, and every place a row may lie
    in has its leaf in the sum tree. Rows are numbered for ever, so the number also tells whether a sequence's
    data are still there. A sequence is given up when one of the rows it reads is about to be overwritten.

    Args:
        geometry: what is stored, and how much of it.
        directory: keep the arrays on disk, in this folder, from where `load` opens them again; what was in it
            is overwritten. None = in memory.
        priority_exponent: alpha in P(i) = p_i^alpha / sum_k p_k^alpha.
        importance_exponent: beta in w_i = (P(i))^-beta / max_j w_j.
        pin_memory: hand out frames in pinned memory, for faster copies to a GPU.
        gather: of a shard, to learn of the others'; see `agents.replay.sampler`.

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
        gather: Gather | None = None,
    ) -> None:
        geometry.memory(directory).check()
        arrays = allocate(geometry.flat_specs(), directory)
        self._attach(
            geometry,
            arrays,
            directory,
            priority_exponent=priority_exponent,
            importance_exponent=importance_exponent,
            pin_memory=pin_memory,
            gather=gather,
        )
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
        gather: Gather | None = None,
    ) -> SequenceReplay:
        """A replay saved in ``directory``, checked.

        A replay kept on disk may hold more rows than when `save` was last called: its process was killed.
        They are kept, and the episodes that were open count as interrupted.

        Args:
            directory: where it was saved.
            geometry: must be the one it was made with.
            mapped: go on in these files; else read them into memory.
            priority_exponent: as for the class.
            importance_exponent: as for the class.
            pin_memory: as for the class.
            gather: as for the class.

        Raises:
            ReplayError: there is none, it is damaged, it is another one, or memory does not suffice.
        """
        if not mapped:
            geometry.memory().check()
        arrays, summary = persistence.read(directory, geometry, mapped=mapped)
        replay = cls.__new__(cls)
        home = directory if mapped else None
        replay._attach(
            geometry,
            arrays,
            home,
            priority_exponent=priority_exponent,
            importance_exponent=importance_exponent,
            pin_memory=pin_memory,
            gather=gather,
        )
        replay._forget(max(0, replay.position - geometry.rows), replay._horizon())
        try:
            replay.self_check(summary if replay.position == summary.position else None)
        except ReplayError as error:
            raise ReplayError(
                f"replay {directory} is damaged: {error}; delete it to start with an empty one"
            ) from error
        if replay.position != summary.position:
            replay._accumulator.close()
        return replay

    def _attach(
        self,
        geometry: ReplayGeometry,
        arrays: Arrays,
        directory: Path | None,
        *,
        priority_exponent: float,
        importance_exponent: float,
        pin_memory: bool,
        gather: Gather | None,
    ) -> None:
        """Build the three parts around arrays, empty or restored."""
        self.geometry = geometry
        self._arrays = arrays
        self.directory = directory
        self._pin_memory = pin_memory
        layout = geometry.layout
        compressed = geometry.compressed_bytes is not None
        self._storage = Storage(arrays, layout, compressed=compressed)
        self._sampler = PrioritizedSampler(
            arrays,
            priority_exponent=priority_exponent,
            importance_exponent=importance_exponent,
            gather=gather,
        )
        self._follow()

    def _follow(self) -> None:
        """Take up the episodes where the last row left them."""
        geometry, storage = self.geometry, self._storage
        last = (self.position - 1) % geometry.rows
        nothing = np.full(geometry.num_envs, -1, dtype=np.int32)
        age = storage.age[last] if self.position else nothing
        self._accumulator = Accumulator(geometry.layout, age, storage.flags[last] & ENDS_EPISODE > 0)

    # ------------------------------------------------------------------ writing

    @property
    def position(self) -> int:
        """Vector steps ever added."""
        return self._storage.position

    @property
    def awaits_first(self) -> bool:
        """Whether the next step must be the first of an episode in every environment."""
        return self.position == 0 or not self._accumulator.open

    @property
    def num_observations(self) -> int:
        """Observations that are there, summed over environments."""
        return (self._storage.position - self._storage.oldest) * self.geometry.num_envs

    @property
    def num_sequences(self) -> int:
        """Sequences that can be drawn."""
        return int(np.count_nonzero(self._sampler.tree.leaves))

    @property
    def can_draw(self) -> bool:
        """Whether there is a sequence to draw."""
        return self._sampler.tree.total > 0

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
            state: float32 [2, N, D], the LSTM's (h, c) with which the network reads ``step``, on any device;
                None if D is 0.
            ends_return: bool [N], nothing to bootstrap from at this step; None means ``step.terminated``.

        Raises:
            ReplayError: the step does not follow the one before, or its observations are not what the
                geometry says.
        """
        geometry, storage = self.geometry, self._storage
        frames = self._newest_frames(step)
        if (0 if state is None else state.shape[-1]) != geometry.state_size:
            raise ReplayError(f"give LSTM states of {geometry.state_size} units, as the replay was made for")
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

    def _leaf(self, start: NDArray[np.int64], env: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leaves of the sequences that start in rows [K] of environments [K]."""
        return (start % self.geometry.rows) * self.geometry.num_envs + env

    # ------------------------------------------------------------------ reading

    def sample(self, batch_size: int, rng: np.random.Generator) -> SequenceBatch:
        """Draw B sequences in proportion to their priorities, with replacement.

        Raises:
            ReplayError: there is no sequence yet.
        """
        with section("replay: draw"):
            draw = self._sampler.draw(batch_size, rng)
            start, env = self._start(draw.leaf)
        sequence = start * self.geometry.num_envs + env
        with section("replay: assemble"):
            batch = read_sequences(self._storage, self.geometry, start, env, pin_memory=self._pin_memory)
        return batch._replace(weight=torch.from_numpy(draw.weight), sequence=torch.from_numpy(sequence))

    def update_priorities(self, sequence: Tensor, priority: Tensor) -> None:
        """Set the priorities of sequences [B], floats [B]; those that are gone by now are passed over.

        Raises:
            ReplayError: a priority is negative or not finite.
        """
        start, env = np.divmod(sequence.cpu().numpy(), self.geometry.num_envs)
        leaf = self._leaf(start, env)
        # A younger sequence may have taken the place of the one that was drawn.
        same = self._start(leaf)[0] == start
        self._sampler.update(leaf[same], priority.detach().double().cpu().numpy()[same])

    def sample_observations(self, batch_size: int, rng: np.random.Generator) -> Observations:
        """Draw B observations uniformly, with replacement, from all that are there.

        Raises:
            ReplayError: the replay is empty.
        """
        # The oldest rows have lost frames of their stacks.
        oldest = self._storage.oldest
        begin = oldest + self.geometry.stack - 1 if oldest else 0
        if begin >= self.position:
            raise ReplayError("the replay is empty: add steps before sampling")
        row = rng.integers(begin, self.position, batch_size)
        env = rng.integers(0, self.geometry.num_envs, batch_size)
        return read_observations(self._storage, self.geometry, row, env)

    def _start(self, leaf: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First trained rows [K] and environments [K] that leaves [K] stand for at present."""
        slot, env = np.divmod(leaf, self.geometry.num_envs)
        return self._storage.row_in(slot), env

    # ------------------------------------------------------------------- saving

    def save(self, directory: Path) -> None:
        """Save everything in ``directory``; a replay kept there already is only flushed.

        Raises:
            OSError: disk full or unwritable.
        """
        home = self.directory is not None and directory.resolve() == self.directory.resolve()
        persistence.write(directory, self.geometry, self._arrays, self.summary(), mapped=home)

    def mark(self) -> dict[str, Any]:
        """What `rewind` needs to come back to this moment, as tensors and plain values (8 bytes per place)."""
        return {"position": self.position} | {
            name: torch.tensor(array) for name, array in self._sampler.state().items()
        }

    def rewind(self, mark: dict[str, Any]) -> None:
        """Come back to a moment marked earlier: the run that wrote on was killed and begins there again.

        Exact as long as no row of that moment has been overwritten since; what was overwritten is lost, with
        the sequences that read it.

        Args:
            mark: of `mark`, of this replay.

        Raises:
            ReplayError: the replay has not come that far.
        """
        position = mark["position"]
        if position > self.position:
            raise ReplayError(
                f"the replay holds {self.position} vector steps, fewer than the checkpoint's {position}: delete it to "
                "start with an empty one"
            )
        storage, rows = self._storage, self.geometry.rows
        # Priorities first: killed before the window moves, the replay is as sound as it was.
        self._sampler.restore({name: mark[name].numpy() for name in self._sampler.state()})
        storage.rewind(position)
        self._forget(max(0, position - rows), min(self._horizon(), position))
        self._follow()

    def summary(self) -> persistence.Summary:
        """Counts and the sum of priorities."""
        return persistence.Summary(self.position, self._storage.oldest, self.num_sequences, self._sampler.tree.total)

    def self_check(self, expected: persistence.Summary | None = None) -> None:
        """Check every row, state, age, sequence and priority.

        Args:
            expected: counts and sum of priorities that must be found, if known.

        Raises:
            ReplayError: the first thing that is wrong.
        """
        self._storage.verify(self.geometry.frame_bytes)
        leaves = self._sampler.tree.leaves
        if not (np.isfinite(leaves) & (leaves >= 0)).all():
            raise ReplayError("a priority is negative or not finite")
        leaf = np.flatnonzero(leaves)
        start, env = self._start(leaf)
        age = self._storage.age[start % self.geometry.rows, env]
        if (start < self._horizon()).any() or (age % self.geometry.layout.stride != 0).any():
            raise ReplayError("a sequence begins where none can")
        sums = leaves.sum(), self._sampler.tree.total
        if not np.isclose(*sums, rtol=1e-9):
            raise ReplayError(f"the sum tree says {sums[1]}, its leaves sum up to {sums[0]}")
        found = self.summary()
        if expected is not None and (
            found[:3] != expected[:3] or not np.isclose(found.priority, expected.priority, rtol=1e-9)
        ):
            raise ReplayError(f"it holds {found}, but was saved with {expected}")
