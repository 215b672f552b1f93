"""Seconds until ``--help`` has answered and until the first environment step has been made.

    python benchmarks/startup.py [--repeats 5]

Whole processes, medians; the files are in the system's cache from the first, which is left out. The first step of PPO
and of R2D2 on Pong is dated by the line of progress that follows it; precision is given, since ``auto`` first measures.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

TRAIN = [sys.executable, "-m", "relic_rl.train"]


def answer() -> float:
    """Seconds of ``--help``."""
    start = time.perf_counter()
    subprocess.run([*TRAIN, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def first_step(agent: str) -> float:
    """Seconds until the first line that counts steps."""
    with tempfile.TemporaryDirectory() as directory:
        options = ["--agent", agent, "--env", "ALE/Pong-v5", "--precision", "fp32", "--eval-episodes", "0"]
        if agent == "ppo":  # a line of progress follows a rollout
            options += ["--num-envs", "2", "--num-steps", "2", "--num-minibatches", "1", "--aux-batch-size", "2"]
        start = time.perf_counter()
        command = [*TRAIN, *options, "--run-dir", f"{directory}/run"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if " steps (" in line:
                    seconds = time.perf_counter() - start
                    process.terminate()
                    process.communicate()
                    return seconds
        raise RuntimeError("training ended before its first step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    what: dict[str, Callable[[], float]] = {
        "--help": answer,
        "first step, ppo": lambda: first_step("ppo"),
        "first step, r2d2": lambda: first_step("r2d2"),
    }
    for name, measure in what.items():
        times = [measure() for _ in range(args.repeats + 1)][1:]
        print(f"{name}: {statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f})", flush=True)


if __name__ == "__main__":
    main()
