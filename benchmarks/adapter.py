"""What the adapter costs: steps per second through it, relative to the bare engine with the same options.

    python benchmarks/adapter.py [--game Pong] [--num-envs 16] [--num-threads 1] [--rounds 30]

Both play the same actions from the same seeds, in turns of 100 vector steps within one process, so that whatever
else the machine does falls on both. Rates are of the wall clock, medians over the turns; the ratio of processor
time (all threads) is the one to read on a busy machine. What bounds both is the emulator: one core makes a few
thousand agent steps per second.
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


def time_turn(step: Callable[[Any], object], actions: np.ndarray) -> tuple[float, float]:
    """Wall and processor seconds of one turn; actions int64 [T, N]."""
    wall, processor = time.perf_counter(), time.process_time()
    for action in actions:
        step(action)
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-threads", type=int, default=1, help="engine threads; 0 = one per core")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each")
    args = parser.parse_args()
    for engine in ("envpool", "ale"):
        adapter, bare = (
            make_vector_env(f"ALE/{args.game}-v5", args.num_envs, engine=engine, seed=0, num_threads=args.num_threads)
            for _ in range(2)
        )
        adapter.reset()
        bare.reset()
        players = {"adapter": adapter.step, "bare": bare._engine.step}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in players}
        rng = np.random.default_rng(0)
        for turn in range(args.rounds):
            actions = rng.integers(adapter.num_actions, size=(STEPS_PER_TURN, args.num_envs))
            for name in sorted(players, reverse=turn % 2 == 1):  # neither always goes first
                seconds[name].append(time_turn(players[name], actions))
        steps = STEPS_PER_TURN * args.num_envs
        wall, processor = (
            {name: steps / statistics.median(turn[clock] for turn in turns) for name, turns in seconds.items()}
            for clock in range(2)
        )
        print(
            f"{engine}: adapter {wall['adapter']:,.0f} agent steps/s, bare engine {wall['bare']:,.0f}, ratio"
            f" {wall['adapter'] / wall['bare']:.3f} (by processor time {processor['adapter'] / processor['bare']:.3f};"
            f" {args.game}, {args.num_envs} environments, {args.num_threads or 'all'} threads)"
        )
        adapter.close()
        bare.close()


if __name__ == "__main__":
    main()
