"""Fixtures of the runtime's tests."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmpfs: Callable[[str], Path]) -> Path:
    """A file system of 256 KiB."""
    return tmpfs("size=256k")


@pytest.fixture
def read_only_disk(tmpfs: Callable[[str], Path]) -> Path:
    """A file system that cannot be written."""
    return tmpfs("ro")


class Script:
    """A Python program in a process of its own."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_line(self) -> str:
        """Its next line on stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> tuple[int, str]:
        """Exit code and stderr."""
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def script() -> Iterator[type[Script]]:
    """Starts programs, and ends those that a failed test leaves."""
    started: list[Script] = []

    class Recorded(Script):
        def __init__(self, code: str, *arguments: str) -> None:
            super().__init__(code, *arguments)
            started.append(self)

    yield Recorded
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
