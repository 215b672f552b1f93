"""RELIC: reinforcement learning and representation learning with an invariance penalty."""

__version__ = "0.1.0"
