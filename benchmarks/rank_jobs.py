"""A training job of two ranks under torchrun, and what strikes one of them: shared by scripts that kill ranks."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint

OPTIONS = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "8"]
OPTIONS += ["--aux-batch-size", "16", "--eval-episodes", "0", "--seed", "0", "--checkpoint-every", "2"]
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
HANG = 150  # seconds after which a job that lost a rank counts as hanging


class Job:
    """Two processes under torchrun; the log gets what they say. A context: nothing is left of it afterwards."""

    def __init__(self, run: Path, agent: str, total_steps: int, log: Path, restarts: int = 0) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", str(restarts), "-m", "relic_rl.train", *OPTIONS, *AGENTS[agent].split()]
        command += ["--run-dir", str(run), "--resume", "auto", "--total-steps", str(total_steps)]
        self.run = run
        self.log = log
        with log.open("wb") as output:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.torchrun = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *error: object) -> None:
        if self.torchrun.poll() is None:
            self.torchrun.kill()  # the ranks notice
            self.torchrun.wait()

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
            raise self.failure("the job hangs") from None
        return time.monotonic() - start

    def failure(self, what: str) -> SystemExit:
        """The end of the script, with the log's last lines."""
        return SystemExit(f"{what}: {self.log.read_text(errors='replace')[-2000:]}")


class Attempt:
    """What becomes of a job from its start, or from a strike, on: whether it trains, and after how long.

    It does once there is a checkpoint of a later step than there was when the last process of the attempt before had
    ended: those of the new one have met by then, taken up the checkpoint, and gone on.

    Args:
        job: under torchrun.
        before: ids of processes of the attempt before.

    Attributes:
        trains_after: seconds from this object's making until training went on; None before.
    """

    def __init__(self, job: Job, before: AbstractSet[int] = frozenset()) -> None:
        self.job = job
        self.trains_after: float | None = None
        self._before = before
        self._since = time.monotonic()
        self._log = job.log.stat().st_size
        self._steps: int | None = None  # of the checkpoint it begins with

    @property
    def age(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._since

    def look(self) -> dict[int, int]:
        """What has become of it; process ids by rank of what is not of the attempt before.

        Raises:
            SystemExit: the job ended by itself, or does not go on.
        """
        if self.job.torchrun.poll() is not None:
            raise self.job.failure("the job ended by itself")
        if self.trains_after is None and self.age > HANG:
            raise self.job.failure(f"the job has not gone on for {HANG} s")
        ranks = self.job.ranks()
        if self._steps is None and not self._before & set(ranks.values()):
            self._steps = newest_steps(self.job.run)
        elif self._steps is not None and self.trains_after is None and newest_steps(self.job.run) > self._steps:
            self.trains_after = self.age
        time.sleep(0.02)
        return {rank: process for rank, process in ranks.items() if process not in self._before}

    def until_training(self) -> float:
        """Wait until it trains; after how many seconds."""
        while self.trains_after is None:
            self.look()
        return self.trains_after

    def said(self, pattern: str) -> bool:
        """Whether a pattern stands in what was said since this object was made."""
        return re.search(pattern.encode(), self.job.log.read_bytes()[self._log :]) is not None

    def says(self, pattern: str) -> bool:
        """Wait for a pattern to be said; False if it has not been by when training has gone on."""
        while not self.said(pattern):
            if self.trains_after is not None:
                return self.said(pattern)
            self.look()
        return True

    def strike(self, rng: random.Random, seconds: float, sign: signal.Signals, *, in_training: bool) -> Strike:
        """Let a random rank have the signal at a random time.

        Args:
            rng: of the rank and of the time.
            seconds: until when at most, counted from this object's making, or from when training has gone on.
            sign: the signal.
            in_training: wait until training has gone on.
        """
        rank, due = rng.randrange(2), rng.uniform(0, seconds)
        if in_training:
            due += self.until_training()
        ranks = self.look()
        while self.age < due or rank not in ranks:
            ranks = self.look()
        os.kill(ranks[rank], sign)
        return Strike(rank, set(ranks.values()), self.trains_after)


class Strike(NamedTuple):
    """What was struck, and when."""

    rank: int
    attempt: set[int]  # ids of all its processes
    trained_after: float | None  # seconds from the strike, or start, before until training went on; None if it had not


def newest_steps(run: Path) -> int:
    """Agent steps of the newest checkpoint by its name; 0 if there is none."""
    checkpoints = list_checkpoints(run / "checkpoints")
    return int(checkpoints[0].stem.removeprefix("step-")) if checkpoints else 0


def sound_steps(run: Path) -> int:
    """Agent steps of the newest checkpoint, which must be sound."""
    checkpoints = list_checkpoints(run / "checkpoints")
    return load_checkpoint(checkpoints[0])["agent"]["steps"] if checkpoints else 0
