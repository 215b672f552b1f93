"""Prioritised sequence replay of R2D2: accumulator -> storage -> sampler, joined by `SequenceReplay`."""

from agents.replay.batch import Observations, SequenceBatch, stack_frames, to_device
from agents.replay.errors import ReplayError
from agents.replay.geometry import ReplayGeometry
from agents.replay.layout import SequenceLayout
from agents.replay.memory import ReplayMemory
from agents.replay.replay import SequenceReplay

__all__ = [
    "Observations",
    "ReplayError",
    "ReplayGeometry",
    "ReplayMemory",
    "SequenceBatch",
    "SequenceLayout",
    "SequenceReplay",
    "stack_frames",
    "to_device",
]
