"""Kills one of two ranks at random moments, many times, and looks whether the job ever hangs or its ranks diverge.

    python benchmarks/rank_kills.py [--kills 20] [--agent ppo] [--stop] [--restarts] [--seed 0]

Two processes train under torchrun; after a random time one of them, drawn at random, gets SIGKILL: every second time
while training goes on, else at any time from the start. The job must end within seconds, in training with a line that
names the rank, and the newest checkpoint must be sound; the next job goes on from it. With --restarts torchrun itself
is to start again from there (--max-restarts), under one job for all kills. With --stop the rank gets SIGSTOP: the
others find out by its silence, after half a minute. Every checkpoint compares a checksum of the ranks' parameters, so
ranks that diverged would end the run; at the end the weights are compared with those of a run that nobody disturbed.
Needs about 20 s for each kill on two quiet cores.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint

OPTIONS = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "8"]
OPTIONS += ["--aux-batch-size", "16", "--eval-episodes", "0", "--seed", "0", "--checkpoint-every", "2"]
AGENTS = {
    "ppo": "--num-steps 16 --num-minibatches 4 --num-epochs 2 --no-anneal",
    "r2d2": (
        "--agent r2d2 --lstm-size 64 --sequence-length 10 --sequence-overlap 5 --burn-in 5 --n-step 3 --batch-size 16 "
        "--steps-per-update 32 --learning-starts 500 --target-period 50 --replay-capacity 400000 --replay-on-disk"
    ),
}
HANG = 150  # seconds after which a job that lost a rank counts as hanging


class Job:
    """Two processes under torchrun; the log gets what they say."""

    def __init__(self, run: Path, agent: str, total_steps: int, log: Path, restarts: int = 0) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", str(restarts), "-m", "relic_rl.train", *OPTIONS, *AGENTS[agent].split()]
        command += ["--run-dir", str(run), "--resume", "auto", "--total-steps", str(total_steps)]
        self.log = log
        with log.open("wb") as output:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.torchrun = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def ranks(self) -> dict[int, int]:
        """Process ids by rank."""
        found = {}
        for children in Path(f"/proc/{self.torchrun.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                try:
                    environment = Path(f"/proc/{child}/environ").read_bytes()
                except OSError:
                    continue
                if match := re.search(rb"\0RANK=(\d+)\0", environment):
                    found[int(match[1])] = int(child)
        return found

    def end(self) -> float:
        """Seconds until the job is over.

        Raises:
            SystemExit: it hangs.
        """
        start = time.monotonic()
        try:
            self.torchrun.wait(timeout=HANG)
        except subprocess.TimeoutExpired:
            self.torchrun.kill()
            raise SystemExit(f"the job hangs: {self.log.read_text()[-2000:]}") from None
        return time.monotonic() - start


def strike(job: Job, rng: random.Random, seconds: float, sign: signal.Signals, run: Path | None) -> int:
    """After a random time let a random rank have the signal; which one.

    The time begins now, or with the next checkpoint of ``run``.
    """
    rank, wait = rng.randrange(2), rng.uniform(0, seconds)
    before = 0.0 if run is None else written(run)
    due = time.monotonic() + wait if run is None else float("inf")
    while time.monotonic() < due or rank not in (found := job.ranks()):
        if job.torchrun.poll() is not None:
            raise SystemExit(f"the job ended by itself: {job.log.read_text()[-2000:]}")
        if run is not None and written(run) > before:
            due = min(due, time.monotonic() + wait)
        time.sleep(0.02)
    os.kill(found[rank], sign)
    return rank


def newest(run: Path) -> int:
    """Agent steps of the newest checkpoint, which must be sound."""
    checkpoints = list_checkpoints(run / "checkpoints")
    return load_checkpoint(checkpoints[0])["agent"]["steps"] if checkpoints else 0


def written(run: Path) -> float:
    """When the newest checkpoint was written."""
    checkpoints = list_checkpoints(run / "checkpoints")
    return checkpoints[0].stat().st_mtime if checkpoints else 0.0


def finish(run: Path, agent: str, total_steps: int, log: Path) -> list[bytes]:
    """Let the run come to its end; its weights."""
    job = Job(run, agent, total_steps, log)
    if job.torchrun.wait() != 0:
        raise SystemExit(f"a run failed: {log.read_text()[-2000:]}")
    return [(run / name).read_bytes() for name in ("encoder.safetensors", "critic.safetensors")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--agent", choices=AGENTS, default="ppo")
    parser.add_argument("--stop", action="store_true", help="SIGSTOP in place of SIGKILL")
    parser.add_argument("--restarts", action="store_true", help="let torchrun start again by itself")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest time to a kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    sign = signal.SIGSTOP if args.stop else signal.SIGKILL
    with tempfile.TemporaryDirectory() as folder:
        run, undisturbed, log = (Path(folder) / name for name in ("killed", "undisturbed", "log"))
        steps = 0
        waits: list[float] = []
        told: list[bool] = []
        job = Job(run, args.agent, 10**9, log, args.kills) if args.restarts else None
        for kill in range(args.kills):
            one = job or Job(run, args.agent, 10**9, log)
            in_training = kill % 2 == 1
            rank = strike(one, rng, args.seconds, sign, run if in_training else None)
            if job is None:
                waits.append(one.end())
                line = re.search(rf"rank {rank} of 2 (died|has not been heard)", log.read_text())
                if in_training:
                    told.append(line is not None)
            if newest(run) < steps:
                raise SystemExit(f"kill {kill} threw the run back from {steps} to {newest(run)} steps")
            steps = newest(run)
            print(f"kill {kill + 1}: rank {rank}, {steps:,} steps", flush=True)
        if job is not None:
            job.torchrun.terminate()
            waits.append(job.end())
            steps = newest(run)
        steps += 1_000
        same = finish(run, args.agent, steps, log) == finish(undisturbed, args.agent, steps, log)
        print(
            f"{args.agent}, {args.kills} times {sign.name} to one of two ranks: the job never hung; it ended after"
            f" {statistics.median(waits):.1f} s in the median, {max(waits):.1f} s at most; the line named the rank"
            f" {sum(told)} times of the {len(told)} that struck in training; after {steps:,} agent steps the weights"
            f" are {'to the bit' if same else 'NOT'} those of an undisturbed run"
        )
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
