"""Throughput of training with one and with two processes on the same cores, against a model of the cost.

    python benchmarks/processes.py [--agent ppo] [--seconds 60] [--rounds 3]

PPO or R2D2 on Pong with the small preset, RELIC included, in bf16 where that pays. One process with all cores as
threads against two, under torchrun, with half the cores each (threads pinned either way); in turns, so that a slow hour
hits both. The two do the same experiment: the same number of environments, batch and updates in all. Agent steps per
second are those that the run itself reports, start-up and evaluation left out. The model (docs/scaling.md) adds to one
process's time for an update what averaging takes by itself (benchmarks/exchanges.py), none of it hidden behind the
backward pass. To be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from exchanges import between_two

from relic_rl.runtime.checkpoint import load_latest

CORES = len(os.sched_getaffinity(0))


class Rate(NamedTuple):
    """What a run did."""

    steps: float  # agent steps per second
    updates: float  # per second
    bytes: int  # of all gradients of an update without the auxiliary head


def rate(agent: str, processes: int, seconds: float, run: Path) -> Rate:
    """Of a run, from its first row on."""
    threads = str(max(1, CORES // processes))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "relic_rl.train", "--agent", agent]
    command += ["--env", "ALE/Pong-v5", "--device", "cpu", "--config", f"{agent}-small", "--run-dir", str(run)]
    command += ["--threads", threads, "--eval-episodes", "0", "--total-steps", "1000000000"]
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    progress = run / "progress.csv"
    while not (progress.exists() and len(progress.read_text().splitlines()) > 1):
        if process.poll() is not None:
            raise SystemExit(f"a run ended with {process.returncode}: {' '.join(command)}")
        time.sleep(0.2)
    time.sleep(seconds)
    process.terminate()
    process.wait()
    with progress.open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    spent = rows[-1]["seconds"] - rows[0]["seconds"]
    state = load_latest(run / "checkpoints").state["agent"]
    network = state["network"] if agent == "ppo" else state["learner"]["network"]
    size = sum(4 * value.numel() for value in network.values())
    return Rate(*((rows[-1][name] - rows[0][name]) / spent for name in ("step", "updates")), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", choices=("ppo", "r2d2"), default="ppo")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    exchange = between_two(200)
    rates: dict[int, list[Rate]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            for processes, found in rates.items():
                found.append(rate(args.agent, processes, args.seconds, Path(folder) / f"{turn}-{processes}"))
                print(f"{args.agent}, {processes} on {CORES} cores: {found[-1].steps:,.0f} agent steps/s", flush=True)
    one, two = (statistics.median(r.steps for r in found) for found in rates.values())
    ratios = [b.steps / a.steps for a, b in zip(*rates.values(), strict=True)]
    update = 1 / statistics.median(r.updates for r in rates[1])
    added = exchange["latency"] + rates[1][0].bytes / exchange["bandwidth"]
    print(
        f"{args.agent}: one process {one:,.0f} agent steps/s, two {two:,.0f}; two over one, by round: "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}; the model, with {rates[1][0].bytes / 1e6:.1f} MB of "
        f"gradients in {1e3 * added:.1f} ms and an update every {1e3 * update:.1f} ms: {update / (update + added):.2f}"
    )


if __name__ == "__main__":
    main()
