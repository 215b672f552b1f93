"""Follows the episodes of N environments and tells which sequences have become complete."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.replay.errors import ReplayError
from agents.replay.layout import SequenceLayout


class NewRow(NamedTuple):
    """What a new row of observations means (N: environments, K: sequences)."""

    age: NDArray[np.int32]  # [N], steps since the first observation of the episode
    interrupted: NDArray[np.bool_]  # [N], the row before was the last of an episode that nobody ended
    env: NDArray[np.int64]  # [K], sequences that are complete with this row: their environments
    start: NDArray[np.int64]  # [K], and their first trained rows


class Accumulator:
    """Episodes in, sequence starts out; it holds no data.

    Rows are numbered from 0 for ever, the same for all environments. A sequence is complete when its n extra
    rows exist or its episode has ended. An episode of T transitions has the sequences that `SequenceLayout`
    describes, as far as each adds a transition that the one before lacks: the last may be shorter than
    ``length``.

    An episode that stops without an end (the run was resumed and games in flight were lost) is cut: its last
    row counts as truncated.

    Args:
        layout: lengths.
        age: int32 [N], age of the last row; -1 before the first.
        ended: bool [N], the last row ended its episode.

    Attributes:
        open: whether the next row may go on with the episodes of the last one.
    """

    def __init__(self, layout: SequenceLayout, age: NDArray[np.int32], ended: NDArray[np.bool_]) -> None:
        self._layout = layout
        self._age = age.copy()
        self._ended = ended.copy()
        self.open = True
        reach = layout.length + layout.n_step
        # A sequence that its episode's end completes starts fewer than `reach` rows before the end.
        self._back = np.arange(reach)

    def close(self) -> None:
        """The open episodes will not go on: the next row must be the first of an episode everywhere."""
        self.open = False

    def add(self, position: int, invented: NDArray[np.bool_], ended: NDArray[np.bool_]) -> NewRow:
        """Take in row ``position``.

        Args:
            position: number of the row.
            invented: bool [N], the row is the first of an episode.
            ended: bool [N], the row is the last of an episode.

        Raises:
            ReplayError: an episode goes on after its end, or begins without a first row.
        """
        layout = self._layout
        lost = ~invented & (self._ended | (self._age < 0) | (not self.open))
        if lost.any():
            raise ReplayError(
                f"environment {int(np.flatnonzero(lost)[0])} went on without a first observation: "
                "after an episode's end, and at the start, a step must be marked as invented"
            )
        self.open = True
        interrupted = invented & ~self._ended & (self._age >= 0)
        cut_env, cut_start = self._at_end(np.flatnonzero(interrupted), position - 1)
        self._age = np.where(invented, 0, self._age + 1).astype(np.int32)
        self._ended = ended.copy()

        first = self._age - (layout.length + layout.n_step - 1)  # age of the sequence whose extra rows are all here
        whole = np.flatnonzero((first >= 0) & (first % layout.stride == 0))
        whole_start = position - self._age[whole] + first[whole]
        end_env, end_start = self._at_end(np.flatnonzero(ended), position)
        return NewRow(
            age=self._age.copy(),
            interrupted=interrupted,
            env=np.concatenate([cut_env, whole, end_env]),
            start=np.concatenate([cut_start, whole_start, end_start]).astype(np.int64),
        )

    def _at_end(self, env: NDArray[np.int64], position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sequences of environments [K] that are complete because row ``position`` ends their episodes."""
        layout = self._layout
        length = self._age[env][:, None]  # T: transitions of the episode
        start = length - self._back
        incomplete = start + layout.length + layout.n_step - 1 > length
        adds = (start > 0) & (start - layout.stride + layout.length < length) | (start == 0) & (length > 0)
        which, back = np.nonzero(incomplete & adds & (start % layout.stride == 0))
        return env[which], position - self._back[back]
