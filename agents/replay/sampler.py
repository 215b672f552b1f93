"""Draws sequences in proportion to their priorities.

Source: Schaul et al., 2016, "Prioritized Experience Replay" (arXiv 1511.05952), sec. 3.3 (proportional)
and 3.4; the exponents are those of Kapturowski et al., 2019.

Departures: a new sequence enters with the largest priority seen so far, as in Schaul et al.; the actors of
R2D2 compute one from their own Q-values.

Of several processes each keeps a shard of the sequences, and draws from it as many as every other. Weights make up
for shards of different total priority: in expectation an update is that of one replay with all sequences
(`shard_weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.replay.arrays import Arrays, ArraySpec
from agents.replay.errors import ReplayError
from agents.replay.sum_tree import SumTree, padded

_LEAST = 1e-6  # smallest priority: no sequence is lost for ever


Gather = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def shard_weights(
    drawn: NDArray[np.float64], total: float, totals: NDArray[np.float64], least: float, exponent: float
) -> NDArray[np.float64]:
    """Importance weights of sequences drawn from one of R shards, B / R from each.

    One replay with all sequences would draw i with P(i) = p_i / S, S = sum_r S_r, and weigh it with P(i)^-beta over
    the largest such weight of the batch. A shard draws it with p_i / S_r, for a share 1 / R of the batch. So its
    weight is

        w_i = (R S_r / S) * (p_i / min_j p_j)^-beta

    and the mean of w_i g_i over the batch of all shards has the expectation of that of the one replay, whatever the
    g_i, apart from the largest weight's, which depends on the batch there and here. With equal totals the weights are
    those of the one replay.

    Args:
        drawn: p_i, exponent alpha applied, [B / R].
        total: S_r of this shard.
        totals: S_r of all shards, [R].
        least: smallest p_j drawn by any shard.
        exponent: beta.
    """
    weights: NDArray[np.float64] = len(totals) * total / totals.sum() * (drawn / least) ** -exponent
    return weights


class Draw(NamedTuple):
    """Sequences drawn (B: batch)."""

    leaf: NDArray[np.int64]  # [B]
    weight: NDArray[np.float32]  # [B], importance weights; at most 1, of several shards at most R


class PrioritizedSampler:
    """A sum tree over all places where a sequence may begin; a leaf is 0 where none does.

    Args:
        arrays: of `PrioritizedSampler.specs`, zeros or restored; written in place.
        priority_exponent: alpha in P(i) = p_i^alpha / sum_k p_k^alpha.
        importance_exponent: beta in w_i = (P(i))^-beta / max_j w_j.
        gather: from this shard's float64 [K] to those of all shards, [R, K]; None for a replay that is whole.
    """

    def __init__(
        self,
        arrays: Arrays,
        *,
        priority_exponent: float,
        importance_exponent: float,
        gather: Gather | None = None,
    ) -> None:
        self.tree = SumTree(np.asarray(arrays["priority"]))
        self._largest: NDArray[np.float64] = np.asarray(arrays["largest_priority"])
        if self._largest[0] == 0.0:
            self._largest[0] = 1.0
        self._priority_exponent = priority_exponent
        self._importance_exponent = importance_exponent
        self._gather = gather

    @staticmethod
    def specs(count: int) -> dict[str, ArraySpec]:
        """The arrays it needs for ``count`` places."""
        return {
            "priority": ArraySpec((padded(count),), np.float64),
            "largest_priority": ArraySpec((1,), np.float64),
        }

    def insert(self, leaf: NDArray[np.int64]) -> None:
        """Sequences have become complete at leaves [K]."""
        if len(leaf):
            self.tree.set(leaf, np.full(len(leaf), self._largest[0] ** self._priority_exponent))

    def remove(self, leaf: NDArray[np.int64]) -> None:
        """Sequences at leaves [K], if there are any, are gone."""
        gone = leaf[self.tree.leaves[leaf] > 0]
        if len(gone):
            self.tree.set(gone, np.zeros(len(gone)))

    def draw(self, batch_size: int, rng: np.random.Generator) -> Draw:
        """Draw B sequences, one from each of B equal parts of the total priority; all shards draw together.

        Raises:
            ReplayError: there is no sequence yet.
        """
        total = self.tree.total
        if total <= 0:
            raise ReplayError("the replay holds no complete sequence yet: add more steps before sampling")
        # Above 0 by a rounding error at most, below total strictly.
        part = (np.arange(batch_size) + rng.random(batch_size)) / batch_size
        leaf = self.tree.find(np.minimum(part * total, np.nextafter(total, 0)))
        drawn = self.tree.leaves[leaf]
        if self._gather is not None:
            everywhere = self._gather(np.array([total, drawn.min(), self._largest[0]]))
            self._largest[0] = everywhere[:, 2].max()  # a new sequence enters every shard alike
            totals, least = everywhere[:, 0], everywhere[:, 1].min()
            return Draw(leaf, shard_weights(drawn, total, totals, least, self._importance_exponent).astype(np.float32))
        weight = (drawn / total) ** -self._importance_exponent
        return Draw(leaf, (weight / weight.max()).astype(np.float32))

    def update(self, leaf: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """Set the priorities of sequences at leaves [K]; one that is gone stays gone.

        Raises:
            ReplayError: a priority is negative or not finite.
        """
        if not (np.isfinite(priority) & (priority >= 0)).all():
            raise ReplayError("a priority is negative or not finite: skip the update whose loss is not finite")
        there = self.tree.leaves[leaf] > 0
        leaf, priority = leaf[there], np.maximum(priority[there], _LEAST)
        if len(leaf):
            self._largest[0] = max(self._largest[0], priority.max())
            self.tree.set(leaf, priority**self._priority_exponent)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """All that changes, by name; not copied."""
        return {"priority": self.tree.leaves, "largest_priority": self._largest}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Go on from ``state()``, copied.

        Raises:
            ReplayError: it is of another size.
        """
        for name, array in self.state().items():
            if state[name].shape != array.shape:
                raise ReplayError("the priorities saved are those of a replay of another size")
            array[:] = state[name]
        self.tree.rebuild()
