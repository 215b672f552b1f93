"""Kills a training run with SIGKILL at random moments, resumes it each time, and prints what was lost.

    python benchmarks/kills.py [--kills 100] [--agent ppo] [--interval 2] [--seed 0]

Every second kill waits for a checkpoint that is being written and strikes then. After each kill the newest
checkpoint must be sound, and its age, counted from where training began or went on, is what was lost: at most the
interval, plus what the run does between two looks at the clock (an iteration) and the writing itself. At the end the
run is brought to a whole number of steps and compared with one that nobody disturbed: both files of weights must be
the same to the bit. Needs about 8 s for each kill on a quiet core.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint

OPTIONS = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "8"]
OPTIONS += ["--aux-batch-size", "16", "--eval-episodes", "0", "--seed", "0"]
AGENTS = {
    "ppo": (
        "--num-steps 16 --num-minibatches 4 --num-epochs 2 --no-anneal --no-anneal-entropy --no-anneal-epochs "
        "--warmup 0"
    ),
    "r2d2": (
        "--agent r2d2 --lstm-size 64 --sequence-length 10 --sequence-overlap 5 --burn-in 5 --n-step 3 --batch-size 16 "
        "--steps-per-update 32 --learning-starts 500 --target-period 50 --replay-capacity 400000 --replay-on-disk"
    ),
}


def start(run: Path, agent: str, total_steps: int, interval: float) -> subprocess.Popen[bytes]:
    """Begin the run, or go on with it."""
    command = [sys.executable, "-m", "relic_rl.train", *OPTIONS, *AGENTS[agent].split(), "--run-dir", str(run)]
    command += ["--resume", "auto", "--total-steps", str(total_steps), "--checkpoint-every", str(interval)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(run: Path, agent: str, total_steps: int, interval: float) -> list[bytes]:
    """Let the run come to its end; its weights."""
    process = start(run, agent, total_steps, interval)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a run ended with {process.returncode}: {errors.decode()}")
    return [(run / name).read_bytes() for name in ("encoder.safetensors", "critic.safetensors")]


def writing(run: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any((run / "checkpoints").glob(".step-*.tmp"))


def kill_at_random(run: Path, process: subprocess.Popen[bytes], seconds: float, *, in_a_write: bool) -> float:
    """Kill the process after a while, in a write if asked for and one comes; the time of the kill."""
    deadline = time.time() + seconds
    while time.time() < deadline and process.poll() is None:
        time.sleep(0.01)
    patience = time.time() + 20
    while in_a_write and not writing(run) and time.time() < patience and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    struck = time.time()
    _, errors = process.communicate()
    if errors:
        raise SystemExit(f"the run said: {errors.decode()}")
    return struck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--agent", choices=AGENTS, default="ppo")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between checkpoints")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest time between a start and its kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        run, undisturbed = Path(folder) / "killed", Path(folder) / "undisturbed"
        lost: list[float] = []
        steps, early, in_writes = 0, 0, 0
        for kill in range(args.kills):
            began = time.time()
            process = start(run, args.agent, 10**9, args.interval)
            struck = kill_at_random(run, process, rng.uniform(0, args.seconds), in_a_write=kill % 2 == 1)
            in_writes += writing(run)
            checkpoints = list_checkpoints(run / "checkpoints")
            if not checkpoints or checkpoints[0].stat().st_mtime < began:
                early += 1  # killed before training went on: nothing was there to lose
                continue
            state = load_checkpoint(checkpoints[0])  # raises if it is not sound
            if state["agent"]["steps"] < steps:
                raise SystemExit(f"kill {kill} threw the run back from {steps} to {state['agent']['steps']} steps")
            steps = state["agent"]["steps"]
            lost.append(struck - checkpoints[0].stat().st_mtime)
        steps += 1_000
        same = finish(run, args.agent, steps, args.interval) == finish(undisturbed, args.agent, steps, args.interval)
        median, most = (statistics.median(lost), max(lost)) if lost else (0.0, 0.0)
        print(
            f"{args.agent}: {args.kills} kills, {in_writes} of them in the middle of a write, {early} before training"
            f" went on; every newest checkpoint sound; training lost at a kill: median {median:.2f} s, at most"
            f" {most:.2f} s (interval {args.interval:g} s); after {steps:,} agent steps the weights are"
            f" {'to the bit' if same else 'NOT'} those of an undisturbed run"
        )
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
