"""Atari on the ALE's own vector environment, every option set explicitly.

What it does that its options do not say (checked by the tests):

- A game starts with U{0, .., noop_max - 1} emulator frames without action: ``noop_max = 31`` draws up to 30.
- The stack of frames is padded with zeros after a reset. Here the first frame is repeated.
- The time limit counts emulator frames, start-up no-ops not included, and is checked once per agent step.
- A seed of 0 or less means "keep the stream"; seeds go to ``reset``.
- At an auto-reset step it may repeat the last reward; the tracker drops it.
- When a game ends before the last frame of a frame skip, the newest image of its final observation is pooled
  with older frames. Nothing bootstraps from it.
- Returned arrays are fresh memory, never written to again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from envs.episodes import EpisodeTracker
from envs.protocols import AtariProtocol
from envs.types import EnvStep


class AleAtari:
    """N copies of one Atari game.

    Args:
        game: ROM name in snake case, such as ``ms_pacman``.
        protocol: the rules.
        seeds: one integer from 1 to 2^31 - 1 per environment; N = ``len(seeds)``.
        num_threads: engine threads; 0 = one per core, at most N.
    """

    def __init__(self, game: str, protocol: AtariProtocol, seeds: Sequence[int], *, num_threads: int = 0) -> None:
        self.num_envs = len(seeds)
        self._engine: Any = AtariVectorEnv(
            game,
            self.num_envs,
            batch_size=0,
            num_threads=num_threads,
            max_num_frames_per_episode=protocol.max_episode_steps * protocol.frame_skip,
            repeat_action_probability=protocol.sticky,
            full_action_space=False,
            continuous=False,
            autoreset_mode="NextStep",
            img_height=protocol.size,
            img_width=protocol.size,
            grayscale=True,
            stack_num=protocol.stack,
            frameskip=protocol.frame_skip,
            maxpool=True,
            noop_max=protocol.max_noops + 1,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=protocol.fire_reset,
        )
        self._seeds: NDArray[np.int64] | None = np.array(seeds, dtype=np.int64)
        self.num_actions = len(self._engine.ale.get_action_set())
        self.observation_shape = (protocol.stack, protocol.size, protocol.size)
        self.stack = protocol.stack
        self.frame_skip = protocol.frame_skip
        self._tracker = EpisodeTracker(self.num_envs)
        # Steps since the game's first observation: the stack is complete once stack - 1 have passed.
        self._age = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> EnvStep:
        """Start a new game in every environment; the streams of random numbers go on."""
        observation, info = self._engine.reset(seed=self._seeds)
        self._seeds = None  # a second reset must not replay the games of the first
        self._age[:] = 0
        self._repeat_first_frame(observation)
        return self._tracker.first(observation, info["lives"])

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N]."""
        self._age += 1
        self._age[self._tracker.ended] = 0
        observation, reward, terminated, truncated, info = self._engine.step(actions)
        self._repeat_first_frame(observation)
        reward = reward.astype(np.float32)
        return self._tracker.next(observation, reward, terminated, truncated, info["lives"])

    def close(self) -> None:
        """Free the engine and its threads."""
        self._engine.close()
        self._engine = None

    def _repeat_first_frame(self, observation: NDArray[np.uint8]) -> None:
        """Replace the padding of young games by their first frame; writes to uint8 [N, C, H, W]."""
        missing = self.observation_shape[0] - 1 - self._age
        for i in np.flatnonzero(missing > 0):
            observation[i, : missing[i]] = observation[i, missing[i]]
