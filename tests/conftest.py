"""Fixtures of all tests."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Puts back torch's number of threads, which every door sets and the last bits of a result depend on."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps features, frames and folders' contents out of the user's cache, and what is there out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "relic_rl"


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system with the options given; skips the test without the right to."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / f"tmpfs-{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("may not mount")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)
