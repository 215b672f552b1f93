"""Run directories: made once the input is known to be good, held by one process, never half-written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relic_rl import __version__
from relic_rl.runtime.errors import BadInput, RunFailed, describe_failure, is_foreseeable
from relic_rl.runtime.files import write_json, write_text
from relic_rl.runtime.resume import CHECKPOINTS

_LOCK = ".lock"
_EARLY = {_LOCK, "config.yaml", "versions.json", "replay"}  # what a run writes before it begins
_SHARD = re.compile(r"replay-\d+-of-\d+")  # a process's part of the replay
_NO_LOCKS = (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS)  # what file systems without locks answer
_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "gymnasium",
    "ale-py",
    "envpool",
    "kornia",
    "Pillow",
    "safetensors",
    "tensorboard",
    "tyro",
)


class RunDir:
    """A run's directory, locked against other processes while this context is open.

    Leaving it through an exception cleans up and says what is left. A run that `BadInput` ends before it
    wrote more than ``config.yaml`` and ``versions.json`` leaves nothing behind; neither does one that ends
    before it wrote anything. A disk, memory or other foreseeable failure becomes a `RunFailed` that names
    what is kept.

    Args:
        path: where; None takes the first free ``runs/NAME-NUMBER``, numbers from 1.
        name: of the run, for the default path; characters unfit for a file name become dashes.
        resume: the directory may hold a run, which is continued.

    Raises:
        BadInput: it cannot be made or written, is not empty (without ``resume``), is no run (with it), or is
            in use.
    """

    def __init__(self, path: str | Path | None, *, name: str = "run", resume: bool = False) -> None:
        self._made: list[Path] = []
        self._fresh = True  # nothing was there before
        self._config = ""
        self.path = Path("runs") if path is None else Path(path)
        try:
            if path is None:
                self.path = self._make_numbered(re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "run")
            else:
                self._fresh = _check(self.path, resume)
                self._make(self.path)
            self._lock = self._acquire()
        except OSError as error:
            self._clean_up({_LOCK})
            raise BadInput(f"--run-dir {self.path}: {error.strerror}; choose another") from error

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, which ``save_checkpoint`` makes."""
        return self.path / CHECKPOINTS

    def write_config(self, text: str) -> None:
        """Write ``config.yaml``; see ``relic_rl.runtime.config.dump_config``."""
        self._config = text
        write_text(self.path / "config.yaml", text)

    def restore(self) -> None:
        """Make again what somebody deleted under way and a checkpoint cannot do without: directory and options.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.yaml").exists():
            self.write_config(self._config)

    def write_versions(self, device: str) -> None:
        """Write ``versions.json``: what ran, and on what."""
        write_json(self.path / "versions.json", versions() | {"device": device})

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``; numbers that are not finite become null."""
        write_json(self.path / "result.json", result)

    def kept(self) -> str:
        """What a failed run leaves, and how to go on."""
        steps = sorted(self.checkpoints.glob("step-*.ckpt"))
        if not steps:
            return "no checkpoint was written yet"
        return f"kept: {steps[-1]}; continue with --resume {self.path}"

    def __enter__(self) -> Self:
        """Nothing more to do: making the object opened the directory."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean up, unlock, and turn a foreseeable failure into a `RunFailed`."""
        kept = self.kept()
        if error is not None:
            self._clean_up(_EARLY if isinstance(error, BadInput) else {_LOCK})
        os.close(self._lock)
        if error is not None and is_foreseeable(error):
            raise RunFailed(f"{describe_failure(error)}; {kept}") from error

    def _make(self, path: Path) -> None:
        """Make a directory and what is missing above it, remembering what was made."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.insert(0, folder)

    def _make_numbered(self, name: str) -> Path:
        """Make the first free ``runs/NAME-NUMBER``."""
        self._make(Path("runs"))
        for number in itertools.count(1):
            path = Path("runs") / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()  # one step: of two processes only one gets it
                self._made.insert(0, path)
                break
        return path

    def _acquire(self) -> int:
        """Lock the directory for this process; the lock goes with the process, however it ends."""
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BadInput(
                f"--run-dir {self.path} is in use by another process: wait for it, or choose another"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(lock)
                raise
        return lock

    def _clean_up(self, disposable: set[str]) -> None:
        """Remove the disposable files, if there are no others, and the directories made here."""
        with contextlib.suppress(OSError):
            left = {"replay" if _SHARD.fullmatch(name) else name for name in os.listdir(self.path)}
            if self._fresh and self.path.is_dir() and left <= disposable:
                for entry in self.path.iterdir():
                    if entry.is_dir():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()
            for folder in self._made:  # the innermost first; not empty: OSError
                folder.rmdir()


def versions() -> dict[str, Any]:
    """The commit (``-dirty`` if files differ; null outside of a checkout), Python, platform and packages."""
    packages = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "relic_rl": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "command": sys.argv,
    }


def _commit() -> str | None:
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", *arguments),
            cwd=here.parent,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # only look
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # a repository around an installed package is not ours
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _check(path: Path, resume: bool) -> bool:
    """Refuse a path that is no place for this run, touching nothing; whether nothing is there yet."""
    try:
        content = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except NotADirectoryError:
        raise BadInput(f"--run-dir {path} is a file: give a directory") from None
    except OSError as error:
        raise BadInput(f"--run-dir {path}: {error.strerror}; choose another") from error
    if not content - {_LOCK}:
        return True
    # A run that was killed before it wrote its options has left its lock file and perhaps a part of a replay.
    a_run = bool({"config.yaml", CHECKPOINTS, _LOCK} & content)
    if resume and not a_run:
        raise BadInput(f"--run-dir {path} is not empty and holds no run: choose another")
    if not resume:
        hint = f"choose another, or continue it with --resume {path}" if a_run else "choose another"
        raise BadInput(f"--run-dir {path} {'holds another run' if a_run else 'is not empty'}: {hint}")
    return False
