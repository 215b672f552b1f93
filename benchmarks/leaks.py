"""Watches a training run from outside: does it gather memory, threads or open files?

    python benchmarks/leaks.py [--steps 200000] [--agent ppo] [--env relic/Catch-v0]

Prints resident memory, threads and open file handles while the run is under way (Linux), after a first part in which
libraries settle. Checkpoints every second and rows of metrics go on as in any run. The allocator keeps settling for a
while: a leak is a slope in memory that stays from quarter to quarter.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

OPTIONS = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "8", "--aux-batch-size", "16"]
OPTIONS += ["--eval-episodes", "0", "--checkpoint-every", "1"]
AGENTS = {
    "ppo": "--num-steps 16 --num-minibatches 4 --num-epochs 1",
    "r2d2": (
        "--agent r2d2 --lstm-size 64 --sequence-length 10 --sequence-overlap 5 --burn-in 5 --n-step 3 --batch-size 16 "
        "--steps-per-update 32 --learning-starts 500 --target-period 50 --replay-capacity 4000"
    ),
}


class Sample(NamedTuple):
    """What a process holds."""

    step: int  # agent steps, by the newest checkpoint
    memory: int  # resident KiB, shared pages of files left out
    threads: int
    files: int


def look(process: int, run: Path) -> Sample | None:
    """What the process holds now; None where it is gone or has no checkpoint yet."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        files = len(os.listdir(f"/proc/{process}/fd"))
        steps = [int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("step-*.ckpt")]
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if not steps or "RssAnon" not in fields:
        return None
    return Sample(max(steps), int(fields["RssAnon"].split()[0]), int(fields["Threads"]), files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200_000, help="agent steps")
    parser.add_argument("--agent", choices=AGENTS, default="ppo")
    parser.add_argument("--env", default="relic/Catch-v0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "relic_rl.train", "--env", args.env, *OPTIONS, *AGENTS[args.agent].split()]
        command += ["--total-steps", str(args.steps), "--run-dir", str(run)]
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        samples: list[Sample] = []
        while process.poll() is None:
            sample = look(process.pid, run)
            if sample is not None and args.steps // 4 <= sample.step < args.steps:  # settled, and not yet at its end
                samples.append(sample)
            time.sleep(0.2)
        if process.returncode != 0 or len(samples) < 4:
            raise SystemExit(
                f"the run ended with {process.returncode} and was seen {len(samples)} times: give more steps"
            )
        updates = int(list(csv.DictReader((run / "progress.csv").open()))[-1]["updates"])
        # The least value of each quarter: what comes and goes (a checkpoint being written) is no leak.
        quarters = [samples[i * len(samples) // 4 : (i + 1) * len(samples) // 4] for i in range(4)]
        memory = [min(sample.memory for sample in quarter) for quarter in quarters]
        distance = quarters[3][0].step - quarters[2][0].step
        slope = (memory[3] - memory[2]) / max(distance, 1) * 1_000
        most_threads, most_files = max(s.threads for s in samples), max(s.files for s in samples)
        print(
            f"{args.agent} on {args.env}, agent steps {samples[0].step:,} to {samples[-1].step:,}, {updates:,} updates:"
            f" memory {', '.join(f'{m / 1024:.1f}' for m in memory)} MiB in four quarters (at last {slope:+.2f} KiB per"
            f" 1,000 steps);"
            f" threads {samples[0].threads}, later {samples[-1].threads} (at most {most_threads});"
            f" open files {samples[0].files}, later {samples[-1].files} (at most {most_files})"
        )


if __name__ == "__main__":
    main()
