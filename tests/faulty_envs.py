"""Environments that fail, for ``--env faulty_envs:NAME``."""

import ctypes

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

LIMIT = 300  # steps of an environment before the fault


class Faulty(gymnasium.Env):
    """Random images, games of 20 steps; ``fault`` comes at step 300 of each copy.

    Args:
        fault: raise = a worker's exception; hang = a call into C that does not return; slow = steps of 0.2 s from
            there on; nan = rewards that are not numbers.
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
            if self.fault == "slow":
                ctypes.CDLL(None).usleep(200_000)
            if self.fault == "nan":
                reward = float("nan")
        return self._image(), reward, self.count >= 20, False, {}

    def _image(self):
        return self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8)


for fault in ("raise", "hang", "slow", "nan"):
    gymnasium.register(f"{fault.title()}-v0", Faulty, kwargs={"fault": fault})
