"""How sequences lie along an episode.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning",
sec. 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.replay.errors import ReplayError


@dataclass(frozen=True)
class SequenceLayout:
    """Lengths in agent steps; the defaults are the paper's.

    Sequence j of an episode trains on the transitions that leave the observations ``j * stride`` to ``j *
    stride + length - 1``. It is preceded by up to ``burn_in`` observations that only prepare the LSTM and
    followed by ``n_step`` observations, shared with its successor, that the targets of its last steps need.

    Args:
        length: m, steps trained on.
        overlap: steps shared by neighbours.
        burn_in: steps before the first trained one.
        n_step: n of the n-step return.

    Raises:
        ReplayError: a length is out of range.
    """

    length: int = 80
    overlap: int = 40
    burn_in: int = 40
    n_step: int = 5

    def __post_init__(self) -> None:
        if self.length < 1 or not 0 <= self.overlap < self.length:
            raise ReplayError(
                f"sequences of {self.length} steps cannot overlap by {self.overlap}: "
                "give a length of at least 1 and an overlap from 0 to length - 1"
            )
        if self.burn_in < 0 or self.n_step < 1:
            raise ReplayError(
                f"burn-in is {self.burn_in} and n is {self.n_step}: give a burn-in of at least 0, n of at least 1"
            )

    @property
    def stride(self) -> int:
        """Steps from the start of one sequence to the start of the next."""
        return self.length - self.overlap

    @property
    def rows(self) -> int:
        """T: observations of a sequence, burn-in and the n extra ones included."""
        return self.burn_in + self.length + self.n_step

    @property
    def spacing(self) -> int:
        """Burn-ins start at ages (steps since the episode's start) that are multiples of this.

        Sequences start at multiples of ``stride``, and a burn-in covers ``burn_in`` steps or, near the
        episode's start, a multiple of ``stride``.
        """
        return math.gcd(self.burn_in, self.stride)
