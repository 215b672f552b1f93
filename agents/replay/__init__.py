"""Prioritised sequence replay of R2D2: accumulator -> storage -> sampler, joined by `SequenceReplay`."""

from agents.replay.batch import SequenceBatch, stack_frames, to_device
from agents.replay.errors import ReplayError
from agents.replay.layout import SequenceLayout
from agents.replay.memory import ReplayMemory
from agents.replay.replay import SequenceReplay

__all__ = [
    "ReplayError",
    "ReplayMemory",
    "SequenceBatch",
    "SequenceLayout",
    "SequenceReplay",
    "stack_frames",
    "to_device",
]
