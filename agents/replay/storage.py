"""Rows of observations and small fields, each stored once, in a ring over time.

A row is what one vector step brought: the newest frame of every environment, and the action, reward and end
flags of the transition that led to it. Stacks of frames are rebuilt when read; at an episode's start its
first frame is repeated. Rows are numbered from 0 for ever (t); row t lies in slot t % L of L.

Every row carries a checksum, written before the row counts as present, so that a mapped storage can be opened
again after its process was killed: then only the slot about to be reused may hold anything half written.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from agents.replay.arrays import Arrays, ArraySpec
from agents.replay.errors import ReplayError
from agents.replay.frames import CompressedFrames, FrameStore, RawFrames
from agents.replay.layout import SequenceLayout

ENDS_RETURN = np.uint8(1)  # the return does not go on: the game is over, or a life was lost where that counts
ENDS_EPISODE = np.uint8(2)  # the last row of its episode, by game over, time limit or interruption
NO_ACTION = -1  # no action led to an episode's first observation


class Storage:
    """Frames, fields and LSTM states of N environments (L: rows kept, D: units of the LSTM).

    Args:
        arrays: of `Storage.specs`, zeros or restored; written in place.
        layout: lengths of sequences, which fix where LSTM states are kept.
        compressed: the frames are compressed.
    """

    def __init__(self, arrays: Arrays, layout: SequenceLayout, *, compressed: bool) -> None:
        self.action: NDArray[np.int16] = np.asarray(arrays["action"])
        self.reward: NDArray[np.float32] = np.asarray(arrays["reward"])
        self.flags: NDArray[np.uint8] = np.asarray(arrays["flags"])
        self.age: NDArray[np.int32] = np.asarray(arrays["age"])
        self._checksum: NDArray[np.uint64] = np.asarray(arrays["checksum"])
        self._state: NDArray[np.float32] = np.asarray(arrays["state"])
        self._state_checksum: NDArray[np.uint64] = np.asarray(arrays["state_checksum"])
        self._window: NDArray[np.int64] = np.asarray(arrays["window"])
        self._frames: FrameStore = CompressedFrames(arrays) if compressed else RawFrames(arrays)
        self._spacing = layout.spacing
        self.rows, self.num_envs = self.action.shape

    @staticmethod
    def specs(
        layout: SequenceLayout,
        *,
        rows: int,
        num_envs: int,
        frame_bytes: int,
        state_size: int,
        compressed_bytes: int | None,
    ) -> dict[str, dict[str, ArraySpec]]:
        """The arrays a storage consists of, by what they are for.

        Args:
            layout: lengths of sequences.
            rows: L, a multiple of ``layout.spacing``.
            num_envs: N.
            frame_bytes: F.
            state_size: D.
            compressed_bytes: room for compressed frames, or None for frames as they are.
        """
        shape = (rows, num_envs)
        states = (rows // layout.spacing, num_envs)
        return {
            "frames": RawFrames.specs(rows, num_envs, frame_bytes)
            if compressed_bytes is None
            else CompressedFrames.specs(rows, num_envs, compressed_bytes),
            "fields": {
                "action": ArraySpec(shape, np.int16),
                "reward": ArraySpec(shape, np.float32),
                "flags": ArraySpec(shape, np.uint8),
                "age": ArraySpec(shape, np.int32),
                "checksum": ArraySpec(shape, np.uint64),
                "window": ArraySpec((2,), np.int64),
            },
            "states": {
                "state": ArraySpec((*states, 2, state_size), np.float32),
                "state_checksum": ArraySpec(states, np.uint64),
            },
        }

    @property
    def position(self) -> int:
        """Number of rows ever written: the next row's number."""
        return int(self._window[0])

    @property
    def oldest(self) -> int:
        """The oldest row that is still there."""
        return int(self._window[1])

    # ----------------------------------------------------------------- writing

    def make_room(self, frames: NDArray[np.uint8]) -> int:
        """Give up the oldest rows in favour of ``frames`` [N, F]; the oldest row that remains."""
        self._window[1] = self._frames.make_room(self.position, self.oldest, frames)
        return self.oldest

    def write(
        self,
        frames: NDArray[np.uint8],
        action: NDArray[np.int16],
        reward: NDArray[np.float32],
        flags: NDArray[np.uint8],
        age: NDArray[np.int32],
    ) -> None:
        """Write a row, after `make_room`: frames [N, F], fields [N]."""
        slot = self.position % self.rows
        self._frames.write(self.position, frames)
        self.action[slot] = action
        self.reward[slot] = reward
        self.flags[slot] = flags
        self.age[slot] = age
        self._checksum[slot] = checksum(frames) + self._small_checksum(slot)
        self._window[0] += 1

    def end_episodes(self, env: NDArray[np.int64]) -> None:
        """Let the last row end the episodes of environments [K]."""
        slot = (self.position - 1) % self.rows
        frames_only = self._checksum[slot, env] - self._small_checksum(slot)[env]
        self.flags[slot, env] |= ENDS_EPISODE
        self._checksum[slot, env] = frames_only + self._small_checksum(slot)[env]

    def write_state(self, env: NDArray[np.int64], state: NDArray[np.float32]) -> None:
        """Keep the LSTM states [K, 2, D] with which environments [K] read the row that is written next.

        The row's age must be a multiple of the layout's spacing, so no two states meet in one place.
        """
        place = (self.position % self.rows) // self._spacing
        self._state[place, env] = state
        self._state_checksum[place, env] = checksum(state.reshape(len(env), -1))

    def rewind(self, position: int) -> None:
        """Forget the rows from number ``position`` on; those that they replaced stay lost."""
        self._window[:] = position, min(self.oldest, position)

    # ----------------------------------------------------------------- reading

    def row_in(self, slot: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the rows that lie in slots."""
        last = self.position - 1
        row: NDArray[np.int64] = last - (last - slot) % self.rows
        return row

    def frames(self, row: NDArray[np.int64], env: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` [K, F] with the newest frames of rows [K] of environments [K]."""
        self._frames.read(row, env, out)

    def state(self, row: NDArray[np.int64], env: NDArray[np.int64]) -> NDArray[np.float32]:
        """LSTM states with which environments [K] read rows [K], float32 [2, K, D]; zeros at an episode's
        start.
        """
        slot = row % self.rows
        state = self._state[slot // self._spacing, env]
        state[self.age[slot, env] == 0] = 0.0
        return np.ascontiguousarray(state.swapaxes(0, 1))

    # ---------------------------------------------------------------- checking

    def verify(self, frame_bytes: int, chunk_bytes: int = 1 << 26) -> None:
        """Compare every row and state with its checksum.

        Raises:
            ReplayError: something is damaged; the message says what.
        """
        if not 0 <= self.oldest <= self.position <= self.oldest + self.rows:
            raise ReplayError(f"its window, rows {self.oldest} to {self.position}, is impossible")
        chunk = max(1, chunk_bytes // (frame_bytes * self.num_envs))
        env = np.arange(self.num_envs)
        for begin in range(self.oldest, self.position, chunk):
            rows = np.arange(begin, min(begin + chunk, self.position))
            slots = rows % self.rows
            out = np.empty((len(rows) * self.num_envs, frame_bytes), dtype=np.uint8)
            self._frames.read(np.repeat(rows, self.num_envs), np.tile(env, len(rows)), out)
            expected = checksum(out).reshape(len(rows), -1) + self._small_checksum(slots)
            wrong = expected != self._checksum[slots]
            if wrong.any():
                t, i = np.argwhere(wrong)[0]
                raise ReplayError(f"row {begin + t} of environment {i} is damaged")
        if self._state.size:
            kept = checksum(self._state.reshape(math.prod(self._state.shape[:2]), -1))
            damaged = kept.reshape(self._state_checksum.shape) != self._state_checksum
            damaged[(self.position % self.rows) // self._spacing] = False  # may be half written
            if damaged.any():
                env_of_first = int(np.argwhere(damaged)[0, 1])
                raise ReplayError(f"an LSTM state of environment {env_of_first} is damaged")

    def _small_checksum(self, slot: int | NDArray[np.int64]) -> NDArray[np.uint64]:
        """Checksum of the small fields of whole slots."""
        fields = (self.action[slot], self.reward[slot].view(np.uint32), self.flags[slot], self.age[slot])
        total = np.zeros(fields[0].shape, dtype=np.uint64)
        for factor, field in zip(_weights(len(fields)), fields, strict=True):
            total += field.astype(np.uint64) * factor
        return total


def checksum(rows: NDArray[np.generic]) -> NDArray[np.uint64]:
    """A number per row that changes with any byte and any swap of words; 0 for zeros.

    Args:
        rows: [K, ...] of any dtype, contiguous.

    Returns:
        uint64 [K]: sum of the row's words, each times an odd number of its own, modulo 2^64.
    """
    data = rows.reshape(len(rows), -1).view(np.uint8)
    word = next(size for size in (8, 4, 2, 1) if data.shape[1] % size == 0)
    words = data.view(f"u{word}").astype(np.uint64, copy=False)
    total: NDArray[np.uint64] = words @ _weights(words.shape[1])
    return total


@functools.cache
def _weights(count: int) -> NDArray[np.uint64]:
    """Odd numbers, spread over 64 bits."""
    odd = 2 * np.arange(count, dtype=np.uint64) + 1
    weights: NDArray[np.uint64] = odd * np.uint64(0x9E3779B97F4A7C15)
    return weights
