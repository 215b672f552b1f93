"""Kills one of two ranks at random moments, many times, and looks whether the job ever hangs or its ranks diverge.

    python benchmarks/rank_kills.py [--kills 20] [--agent ppo] [--stop] [--restarts] [--seed 0]

Two processes train under torchrun; after a random time one of them, drawn at random, gets SIGKILL: every second time
while training goes on, else at any time from the start. The job must end within seconds, in training with a line that
names the rank, and the newest checkpoint must be sound; the next job goes on from it.

With --restarts torchrun itself is to start again from there (--max-restarts), under one job for all kills. Every second
kill waits until the job has gone on; the others come at any time after the kill before, in the restart too. How long
it takes to go on is counted to the first checkpoint of a later step than the one that it goes on from, so up to 2 s,
the time between checkpoints, are training.

With --stop the rank gets SIGSTOP: the others find out by its silence, after half a minute. Every checkpoint compares a
checksum of the ranks' parameters, so ranks that diverged would end the run; at the end the weights are compared with
those of a run that nobody disturbed. Needs about 20 s for each kill on two quiet cores.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
from pathlib import Path

from rank_jobs import AGENTS, Attempt, Job, sound_steps


def named(rank: int) -> str:
    """What a line says that names the rank."""
    return rf"rank {rank} of 2 (died|has not been heard)"


class Kills:
    """Strikes, and what came of them."""

    def __init__(self, args: argparse.Namespace, run: Path, log: Path) -> None:
        self.args = args
        self.run = run
        self.log = log
        self.rng = random.Random(args.seed)
        self.sign = signal.SIGSTOP if args.stop else signal.SIGKILL
        self.ended: list[float] = []  # seconds until a job was over that was to end
        self.went_on: list[float] = []  # seconds until training had gone on, where it was let
        self.told: list[bool] = []  # whether the rank was named, of each that struck in training
        self.steps = 0

    def of_many_jobs(self) -> None:
        """Each ends a job; the next job goes on from its checkpoint."""
        for kill in range(self.args.kills):
            with Job(self.run, self.args.agent, 10**9, self.log) as job:
                attempt = Attempt(job)
                strike = attempt.strike(self.rng, self.args.seconds, self.sign, in_training=kill % 2 == 1)
                self.ended.append(job.end())
                if strike.trained_after is not None:
                    self.told.append(attempt.said(named(strike.rank)))
            self.note(kill, strike.rank)

    def of_one_job(self) -> None:
        """torchrun starts the ranks again after each."""
        with Job(self.run, self.args.agent, 10**9, self.log, restarts=self.args.kills) as job:
            attempt = Attempt(job)
            for kill in range(self.args.kills):
                # Of ranks that are both stopped none would be left to notice.
                in_training = kill % 2 == 1 or self.args.stop
                strike = attempt.strike(self.rng, self.args.seconds, self.sign, in_training=in_training)
                if kill and strike.trained_after is not None:
                    self.went_on.append(strike.trained_after)
                attempt = Attempt(job, strike.attempt)
                if strike.trained_after is not None:
                    self.told.append(attempt.says(named(strike.rank)))
                self.note(kill, strike.rank)
            self.went_on.append(attempt.until_training())
            job.torchrun.terminate()
            self.ended.append(job.end())
        self.steps = sound_steps(self.run)

    def note(self, kill: int, rank: int) -> None:
        """Show the kill.

        Raises:
            SystemExit: the run was thrown back.
        """
        steps = sound_steps(self.run)
        if steps < self.steps:
            raise SystemExit(f"kill {kill + 1} threw the run back from {self.steps} to {steps} steps")
        self.steps = steps
        print(f"kill {kill + 1}: rank {rank}, {steps:,} steps", flush=True)

    def found(self) -> str:
        """In words."""
        text = f"{self.args.agent}, {self.args.kills} times {self.sign.name} to one of two ranks: the job never hung;"
        if self.args.restarts:
            text += f" training had gone on {spread(self.went_on)}, the {len(self.went_on)} times that the next kill"
            text += " waited for it or came later;"
        else:
            text += f" it ended {spread(self.ended)};"
        return text + f" a line named the rank {sum(self.told)} times of the {len(self.told)} that struck in training"


def spread(seconds: list[float]) -> str:
    """Median and longest."""
    return f"after {statistics.median(seconds):.1f} s in the median, {max(seconds):.1f} s at most"


def finish(run: Path, agent: str, total_steps: int, log: Path) -> list[bytes]:
    """Let the run come to its end; its weights."""
    with Job(run, agent, total_steps, log) as job:
        if job.torchrun.wait() != 0:
            raise job.failure("a run failed")
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
    with tempfile.TemporaryDirectory() as folder:
        run, undisturbed, log = (Path(folder) / name for name in ("killed", "undisturbed", "log"))
        kills = Kills(args, run, log)
        if args.restarts:
            kills.of_one_job()
        else:
            kills.of_many_jobs()
        steps = kills.steps + 1_000
        same = finish(run, args.agent, steps, log) == finish(undisturbed, args.agent, steps, log)
    print(
        f"{kills.found()}; after {steps:,} agent steps the weights are {'to the bit' if same else 'NOT'} those of an"
        " undisturbed run"
    )
    if not same or not all(kills.told):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
