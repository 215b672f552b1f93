"""Sequences as the learner gets them."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor


class SequenceBatch(NamedTuple):
    """B sequences, time first (T = burn_in + length + n_step: rows, S: stack, D: units of the LSTM).

    Row t holds an observation and what led to it: the transition into row t + 1 left row t with the action
    ``action_tm1[t + 1]`` and brought ``reward_t[t + 1]``. Trained are the transitions out of the rows burn_in
    to burn_in + length - 1. Rows that the episode does not have repeat its first or last one and are not
    ``valid``.
    """

    frames: Tensor  # uint8 [S - 1 + T, B, C, H, W], single frames; `stack_frames` makes the T observations
    action_tm1: Tensor  # int64 [T, B], action that led to the row; -1 for an episode's first
    reward_t: Tensor  # float32 [T, B], raw reward that came with the row
    ends_return_t: Tensor  # bool [T, B], nothing to bootstrap from: game over, or a lost life where that counts
    ends_episode_t: Tensor  # bool [T, B], the episode's last row, its final observation
    valid: Tensor  # bool [T, B]
    begin: Tensor  # int64 [B], first valid row, at most burn_in
    state: Tensor  # float32 [2, B, D], (h, c) with which row ``begin`` is read
    episode: Tensor  # int64 [B], equal for sequences of one episode, and only for these
    weight: Tensor  # float32 [B], importance weights
    sequence: Tensor  # int64 [B], identity, for `SequenceReplay.update_priorities`


class Observations(NamedTuple):
    """Single observations (B: batch)."""

    images: Tensor  # uint8 [B, S * C, H, W]
    group: Tensor  # int64 [B], equal for observations of one episode, and only for these


Batch = TypeVar("Batch", SequenceBatch, Observations)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``; the copy runs beside other work where its memory is pinned."""
    return type(batch)(*(field.to(device, non_blocking=True) for field in batch))


def stack_frames(frames: Tensor, stack: int) -> Tensor:
    """Observations from single frames.

    Args:
        frames: [S - 1 + T, B, C, H, W], in order of time.
        stack: S.

    Returns:
        [T, B, S * C, H, W], the oldest frame first.
    """
    if stack == 1:
        return frames
    rows = len(frames) - stack + 1
    return torch.cat([frames[k : k + rows] for k in range(stack)], dim=2)
