"""A sum tree whose operations take whole batches: numbers drawn in proportion to their priorities.

Source: Schaul et al., 2016, "Prioritized Experience Replay" (arXiv 1511.05952), sec. 3.3 and appendix B.2.1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """Sums of pairs, of pairs of pairs, and so on, above an array of leaves.

    An inner node is always recomputed from its two children, never adjusted by a difference, so rounding
    errors do not pile up over millions of updates.

    Args:
        leaves: float64 [`padded(count)`], non-negative; owned by the caller, written only through ``set``.
    """

    def __init__(self, leaves: NDArray[np.float64]) -> None:
        self._levels = [leaves]
        for size in inner_sizes(len(leaves)):
            self._levels.append(np.zeros(size))
        self.rebuild()

    @property
    def leaves(self) -> NDArray[np.float64]:
        """float64; read only."""
        return self._levels[0]

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._levels[-1].sum())

    def rebuild(self) -> None:
        """Recompute every inner node."""
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            level[: len(below) // 2] = below[0::2] + below[1::2]

    def set(self, index: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Set leaves; of an index given twice the last value stays.

        Args:
            index: int64 [K].
            value: float64 [K], finite and non-negative.
        """
        self.leaves[index] = value
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            index = index >> 1
            level[index] = below[2 * index] + below[2 * index + 1]

    def find(self, mass: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaf at which the running sum of the leaves, from the left, first exceeds each ``mass``.

        Args:
            mass: float64 [K] in [0, total).

        Returns:
            int64 [K]; never a leaf of value 0, whatever the rounding.
        """
        mass = mass.copy()
        index = np.zeros(len(mass), dtype=np.int64)
        for level in reversed(self._levels[:-1]):
            left = 2 * index
            value = level[left]
            right = (mass >= value) & (level[left + 1] > 0)
            mass -= np.where(right, value, 0.0)
            index = left + right
        return index


def padded(count: int) -> int:
    """Leaves to allocate for ``count`` of them: an even number."""
    return max(2, count + count % 2)


def inner_sizes(leaves: int) -> list[int]:
    """Nodes of each level above ``leaves`` leaves; every level but the root's is even, so that nodes pair
    up.
    """
    sizes: list[int] = []
    while leaves > 1:
        leaves //= 2
        if leaves > 1:
            leaves += leaves % 2
        sizes.append(leaves)
    return sizes
