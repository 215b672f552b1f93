"""Which frames PPO's auxiliary loss sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agents.auxiliary import AuxiliaryLoss
from agents.ppo_parallel import Minibatch
from agents.replay import Observations, SequenceReplay, to_device
from agents.rollout import ClosedRollout
from relic_rl.runtime.distributed import Processes


class AuxiliaryFrames:
    """Draws the frames of each evaluation of an auxiliary loss.

    Args:
        auxiliary: the loss.
        num_envs: N, of this process.
        source: "minibatch" for the transitions of the current minibatch, "rollout" for the whole rollout's, "replay".
        replay: the one to draw from; with ``source`` "replay", and only with that.
        replay_seed: of the draws from it; update u draws from a stream of its own, (seed, u).
        separate_envs: give each frame the number of its environment (with a replay: of its episode) as its group.
        processes: this one among all; their groups differ.

    Raises:
        ValueError: a replay is missing or has no use.
    """

    def __init__(
        self,
        auxiliary: AuxiliaryLoss,
        *,
        num_envs: int,
        source: Literal["minibatch", "rollout", "replay"] = "minibatch",
        replay: SequenceReplay | None = None,
        replay_seed: int = 0,
        separate_envs: bool = False,
        processes: Processes = Processes(),  # noqa: B008 (immutable)
    ) -> None:
        if (replay is not None) != (source == "replay"):
            raise ValueError("a replay goes with frames that come from it, and only with them")
        self.auxiliary = auxiliary
        self.source = source
        self.replay = replay
        self.replay_seed = replay_seed
        self.separate_envs = separate_envs
        self.num_envs = num_envs
        self.processes = processes

    def ahead(self, updates: range) -> list[Observations]:
        """Those of updates to come, in order, where they come from a replay: as it is now."""
        if self.replay is None:
            return []
        own = [self.processes.rank] if self.processes.are_several else []
        return [
            self.replay.sample_observations(
                self.auxiliary.batch_size, np.random.default_rng((self.replay_seed, update, *own))
            )
            for update in updates
            if self.auxiliary.due(update)
        ]

    def now(
        self, rollout: ClosedRollout, part: Minibatch, ahead: Iterator[Observations]
    ) -> tuple[Tensor, Tensor | None]:
        """Frames, uint8 [B, C, H, W], and their groups, int64 [B]; from a rollout without replacement.

        Every process gives equally many: of a rollout at most the transitions of the one that has fewest.

        Args:
            rollout: what is learned from.
            part: the current minibatch.
            ahead: what `ahead` has drawn and no update has taken.
        """
        batch = rollout.batch
        device = batch.observation.device
        rank, others = self.processes.rank, self.processes.world_size
        if self.replay is not None:
            drawn = to_device(next(ahead), device)
            return drawn.images, drawn.group * others + rank if self.separate_envs else None
        source, most = part.rows, part.least  # a minibatch is in random order already
        if self.source == "rollout":
            # Its own stream: the minibatches of all objectives are the same for the same seed.
            source, most = rollout.happened, min(rollout.counts)
            order = torch.randperm(len(source), generator=self.auxiliary.generator, device=device)
            source = source[order]
        chosen = source[: min(self.auxiliary.batch_size, most)]
        groups = batch.env[chosen] + rank * self.num_envs if self.separate_envs else None
        return batch.observation.index_select(0, chosen), groups
