"""A watch over an engine: a call that fails is told as `EngineError`, one that never returns is reported.

The engines play in threads of C++, inside this process. Nothing can free a call that hangs there: neither an
exception nor a signal's handler gets through. So another thread, one for the whole run, looks now and then
whether the same call is still under way, and after ``patience`` seconds hands over to ``on_hang``, which is to
save what it can and end the process. The engines let other Python threads run meanwhile (checked by the tests);
code that holds Python's lock for ever cannot be watched from within.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.types import EnvStep, VectorEnv

_LOOKS = 10  # looks at the same call before it counts as hanging


class EngineError(Exception):
    """The engine failed; the message says in one line which one and how. It must not be used any further."""


class WatchedEnv:
    """A vector environment under watch; it steps and looks like the one it wraps.

    Time is counted in looks, not read from a clock: a process that was stopped and continued (Ctrl-Z, a
    suspended machine) has not been hanging.

    Args:
        env: what is watched.
        name: what to call it.
        patience: seconds that a call may take; above 0.
        on_hang: called with a message, from the watching thread, while the call is under way. Should the call
            return after all, its caller is held up for ever, so that nothing changes under ``on_hang``.
    """

    def __init__(self, env: VectorEnv, name: str, patience: float, on_hang: Callable[[str], None]) -> None:
        self.num_envs = env.num_envs
        self.num_actions = env.num_actions
        self.observation_shape = env.observation_shape
        self.stack = env.stack
        self.frame_skip = env.frame_skip
        self.on_hang = on_hang
        self._env = env
        self._name = name
        self._patience = patience
        self._calls = 0  # begun and ended: odd while one is under way
        self._given_up = False
        self._failed = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name=f"watchdog of {name}", daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        """``get_state`` and ``set_state``, where the environment has them."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self) -> EnvStep:
        """Start a new game in every environment.

        Raises:
            EngineError: the engine raised whatever exception.
        """
        return self._watched(self._env.reset)

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Take one agent step; ``actions`` int64 [N].

        Raises:
            EngineError: the engine raised whatever exception, or gave a reward that is not finite.
        """
        step = self._watched(self._env.step, actions)
        if not np.isfinite(step.reward).all():
            raise EngineError(
                f"environment {self._name} gave a reward that is not finite ({step.reward.tolist()})"[:200]
            )
        return step

    def close(self) -> None:
        """Stop watching and free the engine, unless it failed: then even that could hang."""
        self._closed.set()
        if not self._failed:
            self._env.close()

    def _watched(self, call: Callable[..., EnvStep], *arguments: Any) -> EnvStep:
        self._calls += 1
        try:
            return call(*arguments)
        except Exception as error:
            self._failed = True
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise EngineError(f"environment {self._name} failed ({reason[:150]})") from error
        finally:
            self._calls += 1
            if self._given_up:
                threading.Event().wait()

    def _watch(self) -> None:
        seen, looks = 0, 0
        while not self._closed.wait(self._patience / _LOOKS):
            calls = self._calls
            looks = looks + 1 if calls % 2 and calls == seen else 0
            seen = calls
            if looks == _LOOKS:
                self._given_up = True
                self.on_hang(f"environment {self._name} has not answered for {self._patience:g} s")
                return
