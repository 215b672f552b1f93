"""Starts runs as processes of their own, several at a time, on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from relic_rl.runtime.errors import PREFIX, describe_failure

POLL_SECONDS = 0.2


class Job(NamedTuple):
    """``python -m MODULE ARGUMENTS``.

    Attributes:
        name: what messages call it.
        module: to run.
        arguments: of its command line.
        log: file that gets what it prints, added to what is there.
        threads: CPU threads that it may use.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    log: Path
    threads: int

    def environment(self) -> dict[str, str]:
        """Variables that the process needs beyond those of this one.

        Torch's OpenMP threads spin while they wait: two processes with a thread for each core slow each other
        ten-fold, so that the number is set for each.
        """
        return {"OMP_NUM_THREADS": str(self.threads)}

    def shell_line(self) -> str:
        """The job as a line for a shell, or for another scheduler."""
        variables = " ".join(f"{name}={value}" for name, value in self.environment().items())
        return f"{variables} {shlex.join([sys.executable, '-m', self.module, *self.arguments])}"


class Outcome(NamedTuple):
    """How a job ended."""

    job: Job
    exit_code: int
    seconds: float  # from start to end
    peak_bytes: int | None  # largest resident memory of the process; None = unknown
    message: str  # why it failed, one line; empty if it did not


class StopSign(Protocol):
    """Says when to stop, as `relic_rl.runtime.interrupts.Interrupts` does."""

    @property
    def requested(self) -> bool:
        """Whether to save and stop."""


class Launcher(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome | None]:
        """Run all jobs; yields each one's outcome as it ends, and None now and then in between.

        Closing the iterator ends what still runs.
        """


class LocalLauncher:
    """Runs jobs on this machine, one for each slot at a time.

    Each is tied to this process (`relic_rl.comparison.tether`) and in a process group of its own, so that Ctrl-C on
    a terminal reaches this process alone, which passes it on once.

    Args:
        slots: environment variables of each slot, such as the GPU that its jobs see.
        interrupts: once a signal has come no further job is started, and running ones are asked to save and stop.
    """

    def __init__(self, slots: Sequence[Mapping[str, str]], interrupts: StopSign) -> None:
        self._slots = list(slots)
        self._interrupts = interrupts

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome | None]:
        """See `Launcher.run`."""
        waiting = list(reversed(jobs))
        running: list[_Running] = []
        free = list(reversed(self._slots))
        told = False
        try:
            while running or (waiting and not self._interrupts.requested):
                while waiting and free and not self._interrupts.requested:
                    slot, job = free.pop(), waiting.pop()
                    try:
                        running.append(_Running(job, slot))
                    except OSError as error:  # its log cannot be written, no process can be had
                        free.append(slot)
                        yield Outcome(job, 1, 0.0, None, describe_failure(error))
                if self._interrupts.requested and not told:
                    told = True
                    for each in running:
                        each.signal(signal.SIGTERM)
                ended = [(each, outcome) for each in running if (outcome := each.poll())]
                for each, outcome in ended:
                    running.remove(each)
                    free.append(each.slot)
                    yield outcome
                if not ended:
                    time.sleep(POLL_SECONDS)
                    yield None
        finally:
            for each in running:
                each.signal(signal.SIGKILL)
            for each in running:
                each.wait()


class _Running:
    """A process."""

    def __init__(self, job: Job, slot: Mapping[str, str]) -> None:
        self.job = job
        self.slot = slot
        self._began = time.monotonic()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        tethered = [sys.executable, "-m", "relic_rl.comparison.tether", str(os.getpid()), job.module, *job.arguments]
        with job.log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered,
                env=os.environ | job.environment() | dict(slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> Outcome | None:
        """How it ended, if it has."""
        return self._reap(os.WNOHANG)

    def wait(self) -> Outcome | None:
        """How it ended, once it has."""
        return self._reap(0)

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended is left alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def _reap(self, flags: int) -> Outcome | None:
        pid, status, usage = os.wait4(self._process.pid, flags)
        if not pid:
            return None
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code  # as a shell says it
        self._process.returncode = code  # it is reaped: subprocess must not wait for it
        unit = 1 if sys.platform == "darwin" else 1024
        seconds = time.monotonic() - self._began
        return Outcome(self.job, code, seconds, usage.ru_maxrss * unit, failure(self.job.log, code))


def failure(log: Path, code: int) -> str:
    """Why a job failed, from what it printed last; empty for exit code 0."""
    if code == 0:
        return ""
    if code > 128 and code not in (130, 143):
        return f"killed by signal {code - 128}"
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8_192))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    told = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    return (told or lines or ["it said nothing"])[-1]
