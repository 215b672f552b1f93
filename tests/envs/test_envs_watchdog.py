"""The watch over an engine."""

import sys
import threading
import time

import numpy as np
import pytest

from envs.make import make_vector_env
from envs.toy import Catch
from envs.watchdog import EngineError, WatchedEnv


def never(message: str) -> None:
    raise AssertionError(message)


class Stuck(Catch):
    """Step 3 lasts until it is released; step 5 fails."""

    def __init__(self) -> None:
        super().__init__([0, 1])
        self.count = 0
        self.release = threading.Event()

    def step(self, actions):
        self.count += 1
        if self.count == 3:
            self.release.wait()
        if self.count == 5:
            raise RuntimeError("worker 1\ndied")
        return super().step(actions)


def test_steps_and_looks_like_what_it_wraps() -> None:
    plain, watched = Catch([3, 4]), WatchedEnv(Catch([3, 4]), "Catch", 60, never)
    for name in ("num_envs", "num_actions", "observation_shape", "stack", "frame_skip"):
        assert getattr(watched, name) == getattr(plain, name)
    plain.reset()
    watched.reset()
    for action in range(30):
        actions = np.full(2, action % 3)
        for a, b in zip(plain.step(actions), watched.step(actions), strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    other = WatchedEnv(Catch([3, 4]), "Catch", 60, never)
    other.set_state(watched.get_state())
    assert {k: v.tolist() for k, v in other.get_state().items()} == {
        k: v.tolist() for k, v in plain.get_state().items()
    }
    for env in (watched, other):
        env.close()


def test_only_what_can_be_restored_says_so() -> None:
    env = WatchedEnv(make_vector_env("ALE/Pong-v5", 1, seed=0), "Pong", 60, never)
    assert not hasattr(env, "get_state")
    env.close()


def test_a_failure_is_told_in_one_line() -> None:
    stuck = Stuck()
    stuck.count = 4
    env = WatchedEnv(stuck, "Stuck", 60, never)
    env.reset()
    with pytest.raises(EngineError, match=r"^environment Stuck failed \(RuntimeError: worker 1 died\)$"):
        env.step(np.zeros(2, dtype=np.int64))
    env.close()


def test_a_call_that_hangs_is_told_and_its_caller_held_up() -> None:
    stuck = Stuck()
    told: list[str] = []
    noticed = threading.Event()
    env = WatchedEnv(stuck, "Stuck", 0.5, lambda message: (told.append(message), noticed.set()))
    steps: list[int] = []

    def play() -> None:
        env.reset()
        for step in range(1, 5):
            env.step(np.zeros(2, dtype=np.int64))
            steps.append(step)

    threading.Thread(target=play, daemon=True).start()
    assert noticed.wait(60)
    assert told == ["environment Stuck has not answered for 0.5 s"]
    stuck.release.set()
    time.sleep(0.2)
    assert steps == [1, 2]
    env.close()


def test_time_between_calls_does_not_count() -> None:
    env = WatchedEnv(Catch([0]), "Catch", 1.0, never)
    env.reset()
    time.sleep(1.5)
    env.step(np.zeros(1, dtype=np.int64))
    env.close()


def test_closing_ends_the_thread() -> None:
    env = WatchedEnv(Catch([0]), "Catch of this test", 600, never)
    threads = [t for t in threading.enumerate() if "Catch of this test" in t.name]
    assert len(threads) == 1
    env.close()
    threads[0].join(30)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("engine", ["envpool", "ale"])
def test_engines_let_the_watch_run_while_they_play(engine: str) -> None:
    """Another thread sees that a call is under way, though Python itself takes turns every hour only."""
    env = WatchedEnv(make_vector_env("ALE/Pong-v5", 8, engine=engine, seed=0, num_threads=1), "Pong", 600, never)
    env.reset()
    odd, done = [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            odd[0] += env._calls % 2
            time.sleep(1e-4)

    thread = threading.Thread(target=look)
    thread.start()
    deadline = time.monotonic() + 60
    before = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    try:
        while odd[0] < 10 and time.monotonic() < deadline:
            env.step(np.zeros(8, dtype=np.int64))
    finally:
        sys.setswitchinterval(before)
    done.set()
    thread.join()
    env.close()
    assert odd[0] >= 10
