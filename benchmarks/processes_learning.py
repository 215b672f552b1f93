"""Do two processes learn as fast as one for each agent step? The same seeds with both, PPO and R2D2 with RELIC.

    python benchmarks/processes_learning.py OUT [--agent ppo] [--seeds 8]

PPO plays relic/Catch-v0, R2D2 relic/Recall-v0; the best return is 1 in both, random play's -0.8 and -2.7. All options
are the same; of two processes under torchrun each has half of the environments, of the batch and of the replay. A seed
starts both with the same weights, games and exploration, after which chance parts them: which transitions share a
minibatch, which sequences are drawn.

OUT/AGENT.md holds the table: agent steps until the mean return of recent training games (a mean of five rows of
progress.csv, each the mean of 20 games) has first come to 0.6, and the mean return over the whole run, the area under
its curve. A run that never comes there counts with its length. Intervals are 95 % (Student's t) over seeds; the
difference is taken seed by seed: an interval that holds 0 shows none. OUT/AGENT.csv holds each run's figures,
OUT/AGENT.png the curves. Runs that are done are not done again. About 50 s of CPU time for each seed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relic_rl.comparison.curves import learning_curve
from relic_rl.comparison.figures import draw_curves
from relic_rl.comparison.numerals import interval, number
from relic_rl.comparison.runs import Run
from relic_rl.comparison.statistics import mean_interval
from relic_rl.runtime.metrics import read_progress

OPTIONS = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "16", "--eval-episodes", "0"]
AGENTS = {  # least number of agent steps from one row of progress.csv to the next, environment, options
    "ppo": (
        256,
        "relic/Catch-v0",
        "--total-steps 20000 --num-steps 16 --num-minibatches 4 --num-epochs 4 --aux-batch-size 32",
    ),
    "r2d2": (
        128,
        "relic/Recall-v0",
        "--agent r2d2 --total-steps 4000 --lstm-size 64 --sequence-length 10 --sequence-overlap 5 --burn-in 5 "
        "--n-step 3 --batch-size 16 --steps-per-update 8 --learning-starts 500 --learning-rate 1e-3 "
        "--adam-epsilon 1e-5 --discount 0.97 --target-period 50 --replay-capacity 20000 --aux-batch-size 16",
    ),
}
COUNTS = {1: "one process", 2: "two processes"}
THRESHOLD = 0.6
ROWS = 5  # of progress.csv, in the mean that must reach it
BEGIN = 512  # agent steps by which every run has a row


class Measured(NamedTuple):
    """Of the runs of an agent with as many processes; float64 [R], one for each seed."""

    steps: NDArray[np.float64]  # agent steps to the threshold; the run's length where it was not reached
    area: NDArray[np.float64]  # mean return over the run


def train(out: Path, agent: str, count: int, seed: int) -> None:
    """One run, from its beginning, unless it is done."""
    run = folder(out, agent, count, seed)
    if (run / "result.json").is_file():
        return
    shutil.rmtree(run, ignore_errors=True)  # broken off
    row_steps, env, options = AGENTS[agent]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    command = [sys.executable, *several, str(Path(__file__).with_name("frequent_rows.py")), str(row_steps)]
    command += ["--env", env, *OPTIONS, *options.split(), "--seed", str(seed), "--run-dir", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{run} failed: {done.stderr[-2000:]}")
    print(run, flush=True)


def folder(out: Path, agent: str, count: int, seed: int) -> Path:
    return out / f"{agent}-{count}" / f"seed{seed}"


def measure(runs: Sequence[Path]) -> Measured:
    """Read the curves."""
    steps, area = [], []
    for run in runs:
        rows = np.array([(row["step"], row["mean_return"]) for row in read_progress(run / "progress.csv")])
        rows = rows[np.isfinite(rows[:, 1])]
        means = np.convolve(rows[:, 1], np.full(ROWS, 1 / ROWS), "valid")
        there = np.flatnonzero(means >= THRESHOLD - 1e-9)
        steps.append(rows[ROWS - 1 + there[0], 0] if len(there) else rows[-1, 0])
        area.append(np.interp(np.arange(BEGIN, rows[-1, 0]), rows[:, 0], rows[:, 1]).mean())
    return Measured(np.array(steps), np.array(area))


def table(agent: str, one: Measured, two: Measured) -> list[str]:
    """Rows of Markdown."""
    names = [f"{agent}, {len(one.steps)} seeds", *COUNTS.values(), "two less one, seed by seed"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name, x, y in (
        (f"agent steps to a return of {THRESHOLD}", one.steps, two.steps),
        ("mean return over the run", one.area, two.area),
    ):
        cells = [interval(mean_interval(values), number) for values in (x, y, y - x)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--agent", choices=AGENTS, default="ppo")
    parser.add_argument("--seeds", type=int, default=8)
    args = parser.parse_args()
    for seed in range(args.seeds):  # what is there is balanced whenever it is broken off
        for count in COUNTS:
            train(args.out, args.agent, count, seed)
    found, curves, lines = [], [], ["processes,seed,steps,mean_return"]
    for count, label in COUNTS.items():
        runs = [folder(args.out, args.agent, count, seed) for seed in range(args.seeds)]
        found.append(measure(runs))
        each = enumerate(zip(*found[-1], strict=True))
        lines += [f"{count},{seed},{steps:.0f},{area:.4f}" for seed, (steps, area) in each]
        title = f"{args.agent.upper()} with RELIC, {AGENTS[args.agent][1]}"
        curve = learning_curve([Run(run, label, {"env": title}, None) for run in runs])
        assert curve is not None
        curves.append(curve)
    (args.out / f"{args.agent}.csv").write_text("\n".join(lines) + "\n")
    (args.out / f"{args.agent}.png").write_bytes(draw_curves(curves, {}))
    text = "\n".join(table(args.agent, *found))
    (args.out / f"{args.agent}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
