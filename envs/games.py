"""Scores of whole games as training produces them."""

from __future__ import annotations

from collections import deque

import numpy as np

from envs.types import EnvStep


class RecentGames:
    """Raw returns and lengths of the last whole games, over all environments.

    Args:
        window: number of games the mean is taken over.
        first_env: games of environments with a lower index are left out of the mean (R2D2's explore more).
    """

    def __init__(self, window: int = 20, first_env: int = 0) -> None:
        self.first_env = first_env
        self.returns: deque[float] = deque(maxlen=window)
        self.lengths: deque[int] = deque(maxlen=window)
        self.num_games = 0

    def add(self, step: EnvStep) -> None:
        """Record the games that ended with ``step``, by game over or truncation."""
        for i in np.flatnonzero(step.terminated | step.truncated):
            self.record(int(i), float(step.episode_return[i]), int(step.episode_length[i]))

    def record(self, env: int, episode_return: float, length: int) -> None:
        """Record one game, of the environment with this index."""
        self.num_games += 1
        if env >= self.first_env:
            self.returns.append(episode_return)
            self.lengths.append(length)

    @property
    def mean_return(self) -> float:
        """Mean raw return of the last games; nan before the first has ended."""
        return float(np.mean(self.returns)) if self.returns else float("nan")

    @property
    def mean_length(self) -> float:
        """Mean length of the last games in agent steps; nan before the first has ended."""
        return float(np.mean(self.lengths)) if self.lengths else float("nan")

    def state_dict(self) -> dict[str, list[float] | list[int] | int]:
        """Plain Python, for a checkpoint."""
        return {"returns": list(self.returns), "lengths": list(self.lengths), "num_games": self.num_games}

    def load_state_dict(self, state: dict[str, list[float] | list[int] | int]) -> None:
        """Continue from ``state_dict()``."""
        assert isinstance(state["returns"], list)
        assert isinstance(state["lengths"], list)
        assert isinstance(state["num_games"], int)
        self.returns.clear()
        self.returns.extend(float(x) for x in state["returns"])
        self.lengths.clear()
        self.lengths.extend(int(x) for x in state["lengths"])
        self.num_games = state["num_games"]
