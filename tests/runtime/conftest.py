"""Fixtures of the runtime's tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mount(path: Path, options: str) -> bool:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    path = tmp_path / "small"
    if not _mount(path, "size=256k"):
        pytest.skip("may not mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written."""
    path = tmp_path / "read-only"
    if not _mount(path, "ro"):
        pytest.skip("may not mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


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
