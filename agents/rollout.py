"""The on-policy rollout: T steps of N environments, and the batches PPO learns from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.replay import Observations
from agents.replay.memory import available_memory
from agents.returns import generalized_advantages
from envs.types import EnvStep


class PPOBatch(NamedTuple):
    """Transitions PPO learns from (B: batch)."""

    observation: Tensor  # uint8 [B, C, H, W]
    action: Tensor  # int64 [B]
    log_prob: Tensor  # float32 [B], log-probability of the action when it was taken
    weight: Tensor  # float32 [B], importance of the transition: 1 while ``log_prob`` is that of the policy that acted
    value: Tensor  # float32 [B], value estimate when the action was taken
    advantage: Tensor  # float32 [B]
    return_: Tensor  # float32 [B], advantage + value: the target of the value head
    env: Tensor  # int64 [B], index of the environment each transition comes from


class ClosedRollout(NamedTuple):
    """A rollout to learn from."""

    batch: PPOBatch  # all transitions, views of their storage
    happened: Tensor  # int64 [n], those that may be learned from
    counts: list[int]  # n of each process
    learning_rate: float
    entropy_coefficient: float
    updates: range  # numbers of the updates on it: as many for each epoch
    frames: list[Observations]  # of each auxiliary loss on it, in order, where they come from a replay
    acting_lagged: bool  # it was collected by the policy from before the last improvement


class Rollout:
    """Fixed storage for T steps of N environments, filled step by step.

    Steps invented by auto-reset (the action is ignored, the transition never happened) are stored so that the
    time axis stays whole, but are not among the indices that may be learned from.

    Args:
        num_steps: T.
        num_envs: N.
        observation_shape: (C, H, W) of the uint8 observations.
        device: where the storage lives.
        of: how many such rollouts there are to be; each is refused unless all fit.

    Raises:
        ValueError: the machine's memory does not hold the observations. (The operating system would promise it all
            the same, and kill the process once it is used.)
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        observation_shape: tuple[int, int, int],
        device: torch.device,
        *,
        of: int = 1,
    ) -> None:
        self.num_steps = num_steps
        self.num_envs = num_envs
        shape = (num_steps, num_envs)
        needed = of * math.prod((*shape, *observation_shape))
        free = available_memory() if device.type == "cpu" else None
        if free is not None and needed > free:
            raise ValueError(
                f"{of} rollout{'s'[: of - 1]} of {num_envs} environments x {num_steps} steps: "
                f"{needed / 2**30:.1f} GiB of memory are needed, "
                f"{free / 2**30:.1f} GiB are left: lower --num-envs or --num-steps"
            )
        self.observation = torch.zeros((*shape, *observation_shape), dtype=torch.uint8, device=device)
        self.action = torch.zeros(shape, dtype=torch.int64, device=device)
        self.log_prob = torch.zeros(shape, device=device)
        self.value = torch.zeros((num_steps + 1, num_envs), device=device)
        # Filled on the host, step by step; they travel to the device once a rollout.
        self._reward = np.zeros(shape, dtype=np.float32)
        self._terminated = np.zeros(shape, dtype=bool)
        self._boundary = np.zeros(shape, dtype=bool)
        self._invented = np.zeros(shape, dtype=bool)
        self.position = 0

    @property
    def full(self) -> bool:
        """All T steps are stored."""
        return self.position == self.num_steps

    def add_decision(self, observation: Tensor, action: Tensor, log_prob: Tensor, value: Tensor) -> None:
        """Store what the agent saw, uint8 [N, C, H, W], and decided, each [N]."""
        t = self.position
        self.observation[t] = observation
        self.action[t] = action
        self.log_prob[t] = log_prob
        self.value[t] = value

    def add_outcome(self, step: EnvStep, terminated: np.ndarray) -> None:
        """Store what followed; ``terminated`` bool [N] ends the return (a lost life may count as such)."""
        t = self.position
        self._reward[t] = step.reward
        self._terminated[t] = terminated
        self._boundary[t] = terminated | step.truncated
        self._invented[t] = step.invented
        self.position = t + 1

    def finish(
        self, final_value: Tensor, *, discount: float, lambda_: float, clip_reward: bool
    ) -> tuple[PPOBatch, Tensor]:
        """Close the rollout with the value of the observation after the last step.

        Args:
            final_value: float [N].
            discount: gamma.
            lambda_: GAE's lambda.
            clip_reward: replace each reward by its sign.

        Returns:
            All T N transitions in time-major order, views of the storage (use them before the next rollout
            begins); and the indices, int64 [B], of those that happened: the others, invented by auto-reset,
            must not be used.
        """
        device = self.value.device
        self.value[self.num_steps] = final_value
        reward = torch.from_numpy(self._reward).to(device)
        terminated = torch.from_numpy(self._terminated).to(device)
        boundary = torch.from_numpy(self._boundary).to(device)
        advantage = generalized_advantages(
            r_t=reward.sign() if clip_reward else reward,
            discount_t=discount * (~terminated).float(),
            boundary_t=boundary,
            v_tm1=self.value[:-1],
            v_t=self.value[1:],
            lambda_=lambda_,
        )
        env = torch.arange(self.num_envs, device=device).expand(self.num_steps, -1)
        self.position = 0
        grid = PPOBatch(
            observation=self.observation,
            action=self.action,
            log_prob=self.log_prob,
            weight=torch.ones_like(self.log_prob),
            value=self.value[:-1],
            advantage=advantage,
            return_=advantage + self.value[:-1],
            env=env,
        )
        batch = PPOBatch(*(field.flatten(0, 1) for field in grid))
        happened = torch.from_numpy(np.flatnonzero(~self._invented))
        return batch, happened.to(device)


def take(batch: PPOBatch, index: Tensor) -> PPOBatch:
    """The transitions at ``index``, int64 [B]."""
    # Copies images as a whole; indexing with [] does it byte by byte on a CPU (benchmarks/acting.py).
    return PPOBatch(*(field.index_select(0, index) for field in batch))
