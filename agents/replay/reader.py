"""Puts sequences and observations together from the rows of a storage, without a loop over the batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.replay.batch import Observations, SequenceBatch
from agents.replay.geometry import ReplayGeometry
from agents.replay.storage import ENDS_EPISODE, ENDS_RETURN, Storage


def read_sequences(
    storage: Storage,
    geometry: ReplayGeometry,
    start: NDArray[np.int64],
    env: NDArray[np.int64],
    *,
    pin_memory: bool,
) -> SequenceBatch:
    """The sequences whose first trained rows are ``start`` [B] in environments [B], with weights of 1.

    Rows before the episode's first repeat it, so that stacking consecutive frames repeats its frame, as
    stacks at an episode's start do. Rows after the episode's last repeat that.
    """
    layout = geometry.layout
    ahead = start + np.arange(layout.length + layout.n_step)[:, None]  # [length + n_step, B]
    over = (storage.flags[ahead % storage.rows, env] & ENDS_EPISODE) > 0
    # Rows behind the first end belong to other episodes, or to none: what they hold does not count.
    to_end = np.where(over.any(axis=0), over.argmax(axis=0), len(ahead) - 1)
    last = start + to_end
    first = start - storage.age[start % storage.rows, env]

    wanted = start + np.arange(-layout.burn_in, layout.length + layout.n_step)[:, None]  # [T, B]
    row = np.clip(wanted, first, last)
    slot = row % storage.rows
    flags = storage.flags[slot, env]
    begin = np.maximum(first, start - layout.burn_in)

    lead = start - layout.burn_in + np.arange(1 - geometry.stack, 0)[:, None]
    frame_row = np.concatenate([np.maximum(lead, first), row])  # [S - 1 + T, B]
    frames = torch.empty((*frame_row.shape, *geometry.frame_shape), dtype=torch.uint8, pin_memory=pin_memory)
    out = frames.view(-1, geometry.frame_bytes).numpy()
    storage.frames(frame_row.ravel(), np.broadcast_to(env, frame_row.shape).ravel(), out)
    return SequenceBatch(
        frames=frames,
        action_tm1=torch.from_numpy(storage.action[slot, env].astype(np.int64)),
        reward_t=torch.from_numpy(storage.reward[slot, env]),
        ends_return_t=torch.from_numpy((flags & ENDS_RETURN) > 0),
        ends_episode_t=torch.from_numpy((flags & ENDS_EPISODE) > 0),
        valid=torch.from_numpy(wanted == row),
        begin=torch.from_numpy(begin - start + layout.burn_in),
        state=torch.from_numpy(storage.state(begin, env)),
        episode=torch.from_numpy(first * geometry.num_envs + env),
        weight=torch.ones(len(start)),
        sequence=torch.from_numpy(start * geometry.num_envs + env),
    )


def read_observations(
    storage: Storage, geometry: ReplayGeometry, row: NDArray[np.int64], env: NDArray[np.int64]
) -> Observations:
    """The observations of rows [B] of environments [B]."""
    first = row - storage.age[row % storage.rows, env]
    stacked = np.maximum(row[:, None] + np.arange(1 - geometry.stack, 1), first[:, None])  # [B, S]
    images = torch.empty((len(row), *geometry.observation_shape), dtype=torch.uint8)
    out = images.view(-1, geometry.frame_bytes).numpy()
    storage.frames(stacked.ravel(), np.repeat(env, geometry.stack), out)
    group: Tensor = torch.from_numpy(first * geometry.num_envs + env)
    return Observations(images, group)
