"""What the adapter costs: steps per second through it, relative to the bare engine with the same options.

    python benchmarks/adapter.py [--game Pong] [--num-envs 16] [--num-threads 1] [--rounds 30]

Both play the same actions from the same seeds, in turns of 100 vector steps within one process, so that
whatever else the machine does falls on both. The ratio is that of the medians over the turns. What bounds
both is the emulator: one core makes a few thousand agent steps per second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.make import make_vector_env

STEPS_PER_TURN = 100


def seconds_of_turn(step: Callable[[Any], object], actions: np.ndarray) -> float:
    """Wall time of one turn; actions int64 [T, N]."""
    start = time.perf_counter()
    for action in actions:
        step(action)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-threads", type=int, default=1, help="engine threads; 0 = one per core")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each")
    args = parser.parse_args()
    for engine in ("envpool", "ale"):
        adapter, bare = (
            make_vector_env(
                f"ALE/{args.game}-v5", args.num_envs, engine=engine, seed=0, num_threads=args.num_threads
            )
            for _ in range(2)
        )
        adapter.reset()
        bare.reset()
        rng = np.random.default_rng(0)
        seconds: dict[str, list[float]] = {"adapter": [], "bare": []}
        for _ in range(args.rounds):
            actions = rng.integers(adapter.num_actions, size=(STEPS_PER_TURN, args.num_envs))
            seconds["bare"].append(seconds_of_turn(bare._engine.step, actions))
            seconds["adapter"].append(seconds_of_turn(adapter.step, actions))
        steps = STEPS_PER_TURN * args.num_envs
        rate = {name: steps / statistics.median(values) for name, values in seconds.items()}
        print(
            f"{engine}: adapter {rate['adapter']:,.0f} agent steps/s, bare engine {rate['bare']:,.0f},"
            f" ratio {rate['adapter'] / rate['bare']:.3f}"
            f" ({args.game}, {args.num_envs} environments, {args.num_threads or 'all'} threads)"
        )
        adapter.close()
        bare.close()


if __name__ == "__main__":
    main()
