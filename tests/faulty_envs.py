"""Environments that fail, for ``--env faulty_envs:NAME``."""

import ctypes
import os
import signal
import time

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

LIMIT = 300  # steps of an environment before the fault


class Faulty(gymnasium.Env):
    """Random images, games of 20 steps; ``fault`` comes at step 300 of each copy.

    Args:
        fault: raise = a worker's exception; hang = a call into C that does not return; nan = rewards that are not
            numbers; sigint, sigterm = the process gets that signal, and every step from there on takes 0.1 s.
    """

    observation_space = Box(0, 255, (36, 36, 1), np.uint8)
    action_space = Discrete(2)

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._image(), {}

    def step(self, action):
        self.count += 1
        self.total += 1
        reward = 1.0
        if self.total >= LIMIT:
            if self.fault == "raise":
                raise RuntimeError("worker 7 died:\nsegmentation fault")
            if self.fault == "hang":
                ctypes.CDLL(None).sleep(600)
            if self.fault.startswith("sig"):
                if self.total == LIMIT:
                    os.kill(os.getpid(), getattr(signal, self.fault.upper()))
                time.sleep(0.1)
            if self.fault == "nan":
                reward = float("nan")
        return self._image(), reward, self.count >= 20, False, {}

    def _image(self):
        return self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8)


for fault in ("raise", "hang", "nan", "sigint", "sigterm"):
    gymnasium.register(f"{fault.title()}-v0", Faulty, kwargs={"fault": fault})
