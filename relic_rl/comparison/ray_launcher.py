"""Spreads runs over an existing Ray cluster, whose machines share the file system and have this package installed."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from relic_rl.comparison.launch import Job, Outcome, StopSign, failure
from relic_rl.runtime.errors import BadInput

_POLL_SECONDS = 0.5


def connect(address: str) -> None:
    """Join the cluster.

    Args:
        address: ``HOST:PORT``; ``auto`` finds the cluster of this machine.

    Raises:
        BadInput: there is no cluster at that address.
    """
    remedy = f"--ray-address {address}: no Ray cluster there (ray start --head starts one)"
    host, colon, port = address.rpartition(":")
    if colon and "//" not in address:  # Ray itself tries for minutes
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError, OverflowError) as error:
            raise BadInput(remedy) from error
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise BadInput(remedy) from error


class RayLauncher:
    """Runs jobs as Ray tasks, each a process of its own that is tied to Ray's worker; `connect` comes first.

    Args:
        num_gpus: of each run, 0 or 1; Ray shows each its own.
        interrupts: once a signal has come what runs is cancelled; a cancelled run goes on from its newest checkpoint
            when it is started again.
    """

    def __init__(self, *, num_gpus: int, interrupts: StopSign) -> None:
        self._num_gpus = num_gpus
        self._interrupts = interrupts

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome | None]:
        """See `relic_rl.comparison.launch.Launcher.run`."""
        running: dict[Any, Job] = {}
        for job in jobs:
            task = ray.remote(num_cpus=job.threads, num_gpus=self._num_gpus, max_retries=0)(_work)
            running[task.remote(tuple(job), os.getcwd())] = job
        try:
            while running and not self._interrupts.requested:
                ended, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
                for reference in ended:
                    yield _outcome(running.pop(reference), reference)
                if not ended:
                    yield None
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _work(fields: tuple[Any, ...], folder: str) -> tuple[int, float]:
    """On a worker: run the job; its exit code and seconds."""
    job = Job(*fields)
    began = time.monotonic()
    tethered = [sys.executable, "-m", "relic_rl.comparison.tether", str(os.getpid()), job.module, *job.arguments]
    os.chdir(folder)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        done = subprocess.run(
            tethered,
            env=os.environ | job.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    code = done.returncode
    return (code if code >= 0 else 128 - code), time.monotonic() - began


def _outcome(job: Job, reference: Any) -> Outcome:
    try:
        code, seconds = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Outcome(job, 1, 0.0, None, f"Ray: {str(error).splitlines()[0][:200]}")
    return Outcome(job, code, seconds, None, failure(job.log, code))
