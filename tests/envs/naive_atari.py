"""A naive twin of the Atari engines: one game on the plain ALE interface, written for reading."""

from collections import deque
from functools import cache

import ale_py
import numpy as np
from ale_py import roms


def area_resize(frame, size=84):
    """Average of the source pixels under each target pixel, uint8 [H, W] -> [size, size]."""
    rows, columns = (_overlaps(length, size) for length in frame.shape)
    return np.rint(rows @ frame.astype(np.float64) @ columns.T).astype(np.uint8)


@cache
def _overlaps(source, target):
    """float [target, source], which share of each target pixel a source pixel covers."""
    scale = source / target
    weights = np.zeros((target, source))
    for i in range(target):
        for j in range(source):
            weights[i, j] = max(0.0, min((i + 1) * scale, j + 1) - max(i * scale, j))
    return weights / scale


class NaiveGame:
    """Maximum over the last two frames, grey, 84 x 84, stack of 4 with the first frame repeated."""

    def __init__(self, game, seed, *, sticky, noops):
        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", sticky)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(roms.get_rom_path(game))
        self.actions = self.ale.getMinimalActionSet()
        self.noops = noops

    def reset(self):
        self.ale.reset_game()
        for _ in range(self.noops):
            self.ale.act(ale_py.Action.NOOP)
        self.stack = deque([area_resize(self.ale.getScreenGrayscale())] * 4, maxlen=4)
        return np.stack(self.stack)

    def step(self, action):
        screens, reward = [], 0
        for _ in range(4):
            reward += self.ale.act(self.actions[action])
            screens.append(self.ale.getScreenGrayscale())
            if self.ale.game_over():
                break
        self.stack.append(area_resize(np.maximum(*screens[-2:]) if len(screens) > 1 else screens[-1]))
        return np.stack(self.stack), reward, self.ale.game_over(), self.ale.lives()
