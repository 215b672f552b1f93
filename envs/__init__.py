"""Vectorised environments behind one adapter: Atari on two engines, gymnasium image environments and toys."""
