"""Agents: networks, returns, replay, PPO and R2D2."""
