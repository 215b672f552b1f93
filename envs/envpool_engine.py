"""Atari on envpool, every option set explicitly.

What envpool does that its options do not say (read in its source, checked by the tests):

- A game starts with 1 + U{0, .., noop_max - 1} emulator frames without action, so never fewer than one;
  ``noop_max = 0`` kills the process.
- Seeds are given at construction; ``reset(seed)`` is ignored.
- ``info["terminated"]`` is game over, also when the time limit strikes at that very step; the flag that it
  returns is not.
- When a game ends before the last frame of a frame skip, the newest image of its final observation is made
  from fewer or from older frames. Nothing bootstraps from it.
- Returned arrays are fresh memory, never written to again.
- Frames are the ALE's grey levels, pooled at full size and resized by area averaging: bit for bit what the
  ALE's own vector environment shows, the case above excepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import envpool
import numpy as np
from numpy.typing import NDArray

from envs.episodes import EpisodeTracker
from envs.protocols import AtariProtocol
from envs.types import EnvStep


class EnvpoolAtari:
    """N copies of one Atari game.

    Args:
        game: ROM name in snake case, such as ``ms_pacman``.
        protocol: the rules.
        seeds: one integer from 1 to 2^31 - 1 per environment; N = ``len(seeds)``.
        num_threads: engine threads; 0 = one per core, at most N.

    Attributes:
        ram: uint8 [N, 128], the emulators' memory after the last step; no agent sees it, probes are trained on it.
    """

    ram: NDArray[np.uint8]

    def __init__(self, game: str, protocol: AtariProtocol, seeds: Sequence[int], *, num_threads: int = 0) -> None:
        self.num_envs = len(seeds)
        self._engine: Any = envpool.make_gymnasium(
            envpool_id(game),
            num_envs=self.num_envs,
            batch_size=self.num_envs,
            num_threads=num_threads,
            env_seed=list(seeds),
            max_episode_steps=protocol.max_episode_steps,
            repeat_action_probability=protocol.sticky,
            noop_max=max(protocol.max_noops, 1),
            use_fire_reset=protocol.fire_reset,
            frame_skip=protocol.frame_skip,
            stack_num=protocol.stack,
            img_height=protocol.size,
            img_width=protocol.size,
            gray_scale=True,
            use_inter_area_resize=True,
            episodic_life=False,
            zero_discount_on_life_loss=False,
            reward_clip=False,
            full_action_space=False,
        )
        self.num_actions = int(self._engine.action_space.n)
        self.observation_shape = (protocol.stack, protocol.size, protocol.size)
        self.stack = protocol.stack
        self.frame_skip = protocol.frame_skip
        self._tracker = EpisodeTracker(self.num_envs)

    def reset(self) -> EnvStep:
        """Start a new game in every environment."""
        observation, info = self._engine.reset()
        self.ram = info["ram"]
        return self._tracker.first(observation, info["lives"])

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N]."""
        observation, reward, _, truncated, info = self._engine.step(actions)
        self.ram = info["ram"]
        game_over = info["terminated"].astype(bool)
        return self._tracker.next(observation, reward, game_over, truncated, info["lives"])

    def close(self) -> None:
        """Free the engine and its threads."""
        self._engine.close()
        self._engine = None


def envpool_id(game: str) -> str:
    """envpool's name of a game: ``ms_pacman`` is ``MsPacman-v5``."""
    return "".join(word.capitalize() for word in game.split("_")) + "-v5"
