"""An environment in colour, for ``--env rgb_envs:Bars-v0``."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Bars(gymnasium.Env):
    """Games of 6 steps: red, green and blue levels are 10 t, 20 t and 30 t at step t, whatever is done."""

    observation_space = Box(0, 255, (36, 40, 3), np.uint8)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._image(), {}

    def step(self, action):
        self.count += 1
        return self._image(), 1.0, self.count >= 6, False, {}

    def _image(self):
        return np.full((36, 40, 3), np.array([10, 20, 30]) * self.count, dtype=np.uint8)


gymnasium.register("Bars-v0", Bars)
