"""Where single frames lie: as they are, or losslessly compressed into a fixed number of bytes.

Rows are numbered from 0 for ever (t); row t of every environment is written at the same time. Only the newest
rows are kept, and `make_room` says from which number on.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agents.replay.arrays import Arrays, ArraySpec
from agents.replay.errors import ReplayError


class FrameStore(Protocol):
    """Rows of N frames of F bytes (L: rows that fit at most)."""

    def make_room(self, position: int, oldest: int, frames: NDArray[np.uint8]) -> int:
        """The oldest row that will remain when ``frames`` [N, F] are written as row ``position``."""
        ...

    def write(self, position: int, frames: NDArray[np.uint8]) -> None:
        """Write the frames that room was made for."""
        ...

    def read(self, row: NDArray[np.int64], env: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` [K, F] with the frames of rows [K] of environments [K]."""
        ...


class RawFrames:
    """Frames as they are, F bytes each."""

    def __init__(self, arrays: Arrays) -> None:
        self._frames: NDArray[np.uint8] = np.asarray(arrays["frames"])

    @staticmethod
    def specs(rows: int, num_envs: int, frame_bytes: int) -> dict[str, ArraySpec]:
        """The arrays it needs."""
        return {"frames": ArraySpec((rows, num_envs, frame_bytes), np.uint8)}

    def make_room(self, position: int, oldest: int, frames: NDArray[np.uint8]) -> int:
        """See `FrameStore`."""
        return max(oldest, position + 1 - len(self._frames))

    def write(self, position: int, frames: NDArray[np.uint8]) -> None:
        """See `FrameStore`."""
        self._frames[position % len(self._frames)] = frames

    def read(self, row: NDArray[np.int64], env: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See `FrameStore`."""
        rows, num_envs, frame_bytes = self._frames.shape
        flat = self._frames.reshape(rows * num_envs, frame_bytes)
        # Indices are in range; "clip" spares numpy the buffered copy that its default mode makes.
        np.take(flat, (row % rows) * num_envs + env, axis=0, out=out, mode="clip")


class CompressedFrames:
    """Frames compressed one by one with zlib, in a ring of bytes; how many rows fit depends on the frames.

    Positions in the ring are numbered from 0 for ever, like rows: the frame at byte p of ``size`` s lies in
    the ring's bytes p % budget to p % budget + s, and is whole as long as nothing beyond p + budget has been
    written. A frame that does not shrink is stored as it is.
    """

    def __init__(self, arrays: Arrays, level: int = 1) -> None:
        self._ring: NDArray[np.uint8] = np.asarray(arrays["ring"])
        self._begin: NDArray[np.int64] = np.asarray(arrays["begin"])
        self._size: NDArray[np.int32] = np.asarray(arrays["size"])
        self._level = level
        self._waiting: list[bytes] = []
        self._target = 0

    @staticmethod
    def specs(rows: int, num_envs: int, budget: int) -> dict[str, ArraySpec]:
        """The arrays it needs; ``budget``: bytes of the ring."""
        return {
            "ring": ArraySpec((budget,), np.uint8),
            "begin": ArraySpec((rows, num_envs), np.int64),
            "size": ArraySpec((rows, num_envs), np.int32),
        }

    def make_room(self, position: int, oldest: int, frames: NDArray[np.uint8]) -> int:
        """See `FrameStore`."""
        rows, budget = len(self._begin), len(self._ring)
        packed = [zlib.compress(frame.data, self._level) for frame in frames]
        self._waiting = [p if len(p) < frames.shape[1] else f.tobytes() for p, f in zip(packed, frames, strict=True)]
        needed = sum(map(len, self._waiting))
        last = (position - 1) % rows
        begin = int(self._begin[last, -1] + self._size[last, -1]) if position else 0
        if begin % budget + needed > budget:  # a row is never split: skip the ring's last bytes
            begin += budget - begin % budget
        self._target = begin
        oldest = max(oldest, position + 1 - rows)
        while oldest < position and self._begin[oldest % rows, 0] < begin + needed - budget:
            oldest += 1
        return oldest

    def write(self, position: int, frames: NDArray[np.uint8]) -> None:
        """See `FrameStore`."""
        rows, budget = len(self._begin), len(self._ring)
        sizes = np.array([len(p) for p in self._waiting], dtype=np.int32)
        payload = np.frombuffer(b"".join(self._waiting), dtype=np.uint8)
        at = self._target % budget
        self._ring[at : at + len(payload)] = payload
        self._size[position % rows] = sizes
        self._begin[position % rows] = self._target + np.cumsum(sizes) - sizes

    def read(self, row: NDArray[np.int64], env: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See `FrameStore`."""
        rows, budget = len(self._begin), len(self._ring)
        begin = self._begin[row % rows, env] % budget
        end = begin + self._size[row % rows, env]
        frame_bytes = out.shape[1]
        for k, (b, e) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            piece = self._ring[b:e]
            if e - b < frame_bytes:
                try:
                    piece = np.frombuffer(zlib.decompress(piece.data), dtype=np.uint8)
                except zlib.error as error:
                    raise ReplayError(f"a compressed frame of the replay is damaged ({error}): delete it") from error
            if len(piece) != frame_bytes:
                raise ReplayError("a compressed frame of the replay is damaged (its length is wrong): delete it")
            out[k] = piece
