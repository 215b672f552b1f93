"""Policies for evaluation: the trained networks on plain frames, with a stream of randomness of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents.networks import ActorCritic
from agents.r2d2_actor import RecurrentActor
from agents.r2d2_networks import RecurrentQNetwork
from envs.types import EnvStep
from relic_rl.runtime.distributed import Processes

EVALUATION_EPSILON = 0.001


def sample_categorical(
    log_probs: Tensor,
    generator: torch.Generator,
    processes: Processes = Processes(),  # noqa: B008 (immutable)
) -> Tensor:
    """Draw one index per row from log-probabilities [B, A]; int64 [B].

    From a row that is not finite any index is drawn: the loss will not be finite either, and is dealt with there.
    Of several processes, each with its own rows and the same generator, every one draws for the rows of all: they act
    as a single process with all rows would.
    """
    probs = log_probs.exp()
    probs = torch.where(probs.isfinite().all(-1, keepdim=True), probs, 1.0)
    total = len(probs) * processes.world_size
    rows = processes.share(total)
    if processes.are_several:
        others = probs.new_ones(total, probs.shape[1])
        others[rows] = probs
        probs = others
    return torch.multinomial(probs, 1, generator=generator).squeeze(1)[rows]


def sampling_policy(
    network: ActorCritic, generator: torch.Generator, autocast: Callable[[], torch.autocast]
) -> Callable[[EnvStep], np.ndarray]:
    """PPO's rule: every action is sampled from the policy.

    Args:
        network: the policy; its device is where frames are sent.
        generator: stream of randomness on that device.
        autocast: context of the forward pass, the one training used.

    Returns:
        A function from a vector step to actions, int64 [N].
    """
    device = next(network.parameters()).device

    @torch.no_grad()
    def act(step: EnvStep) -> np.ndarray:
        with autocast():
            logits = network(torch.from_numpy(step.observation).to(device)).logits
        return sample_categorical(logits.log_softmax(-1), generator).cpu().numpy()

    return act


def recurrent_policy(
    network: RecurrentQNetwork, generator: torch.Generator, num_envs: int, autocast_dtype: torch.dtype | None
) -> Callable[[EnvStep], np.ndarray]:
    """R2D2's rule: epsilon-greedy with epsilon 0.001, on LSTM states of its own.

    Args:
        network: the online network; its device is where frames are sent.
        generator: stream of randomness on that device.
        num_envs: N.
        autocast_dtype: of the encoder, or None.

    Returns:
        A function from a vector step of N environments to actions, int64 [N].
    """
    epsilon = torch.full((num_envs,), EVALUATION_EPSILON)
    actor = RecurrentActor(network, epsilon, generator, autocast_dtype=autocast_dtype)
    return lambda step: actor.act(step).action
