"""A vector environment whose screen has another style."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.screen_styles import SCREEN_STYLES, SEVERITIES
from envs.types import EnvStep, VectorEnv


class StyledEnv:
    """An environment seen through an intervention; its games are otherwise what they are.

    Each frame is changed once, when it is new, and stays as it is for as long as it lies in a stack, as if the screen
    itself looked so: an agent never sees one frame in two ways. That is why this wraps the environment rather than
    changing an agent's observations, whose older frames could not be told apart any more.

    The change depends on the intervention, the seed and the number of the step alone.

    Args:
        env: what is played. Its observations are stacks of C / ``stack`` channels a frame, oldest first.
        style: one of `envs.screen_styles.SCREEN_STYLES`.
        severity: 1 to 5.
        seed: of what the intervention draws; left as it is.

    Raises:
        ValueError: no such intervention or severity, or a screen too small for it.
    """

    def __init__(self, env: VectorEnv, style: str, severity: int, seed: np.random.SeedSequence) -> None:
        if style not in SCREEN_STYLES:
            raise ValueError(f"unknown style {style!r}: choose from {', '.join(SCREEN_STYLES)}")
        if severity not in SEVERITIES:
            raise ValueError(f"severity is {severity}: give {SEVERITIES[0]} to {SEVERITIES[-1]}")
        self.num_envs = env.num_envs
        self.num_actions = env.num_actions
        self.observation_shape = env.observation_shape
        self.stack = env.stack
        self.frame_skip = env.frame_skip
        if min(self.observation_shape[1:]) < 16:
            raise ValueError(
                f"screens of {self.observation_shape[1]}x{self.observation_shape[2]} are too small to style"
            )
        self._env = env
        self._change = SCREEN_STYLES[style]
        self._severity = severity
        self._seed = seed
        self._number = 0  # of the step
        self._seen = np.zeros((self.num_envs, *self.observation_shape), dtype=np.uint8)

    def reset(self) -> EnvStep:
        """Start a new game in every environment."""
        return self._styled(self._env.reset())

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N]."""
        return self._styled(self._env.step(actions))

    def close(self) -> None:
        """Free the engine."""
        self._env.close()

    def _styled(self, step: EnvStep) -> EnvStep:
        channels = self.observation_shape[0] // self.stack
        key = (*self._seed.spawn_key, self._number)
        rng = np.random.default_rng(np.random.SeedSequence(self._seed.entropy, spawn_key=key))
        self._number += 1
        newest = self._change(step.observation[:, -channels:], self._severity, rng)
        seen = np.concatenate([self._seen[:, channels:], newest], axis=1)
        if step.invented.any():  # the first frame of a game fills the stack
            seen[step.invented] = np.tile(newest[step.invented], (1, self.stack, 1, 1))
        self._seen = seen
        return step._replace(observation=seen)
