"""What ``--resume`` means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relic_rl.runtime.errors import BadInput

if TYPE_CHECKING:
    from relic_rl.runtime.checkpoint import Loaded

CHECKPOINTS = "checkpoints"  # the folder of a run directory


class Resume(NamedTuple):
    """Where to continue, and from what."""

    run_dir: Path
    source: Path | None  # a checkpoint file, or a directory of checkpoints; None: start anew

    @property
    def config_file(self) -> Path | None:
        """The options of the run that is continued, if they are beside its checkpoints."""
        if self.source is None:
            return None
        folder = self.source if self.source.is_dir() else self.source.parent
        path = folder.parent / "config.yaml"
        return path if folder.name == CHECKPOINTS and path.is_file() else None

    def load(self) -> Loaded | None:
        """Read the checkpoint, or of a directory the newest sound one; None to start anew.

        Raises:
            CheckpointError: it is damaged, or all of them are.
        """
        # Late: torch, for which a command line's errors should not wait
        from relic_rl.runtime.checkpoint import Loaded, load_checkpoint, load_latest  # noqa: PLC0415

        if self.source is None or self.source.is_dir():
            return load_latest(self.source) if self.source else None
        return Loaded(load_checkpoint(self.source), self.source, [])


def resolve_resume(resume: str | None, run_dir: str | None) -> Resume | None:
    """What to continue, or None without ``--resume``.

    Args:
        resume: ``auto``: the newest sound checkpoint in ``run_dir``, or a fresh start if it holds none;
            RUN_DIR: its newest sound checkpoint; CHECKPOINT: that file.
        run_dir: where the continued run is kept; by default the one that the checkpoint is from.

    Raises:
        BadInput: nothing to resume there, or ``run_dir`` is missing where it is needed.
    """
    if resume is None:
        return None
    if resume == "auto":
        if run_dir is None:
            raise BadInput("--resume auto needs --run-dir; or give --resume RUN_DIR")
        folder = Path(run_dir) / CHECKPOINTS
        return Resume(Path(run_dir), folder if _has_checkpoints(folder) else None)
    path = Path(resume)
    if path.is_dir():
        if path.name == CHECKPOINTS:
            path = path.parent
        folder = path / CHECKPOINTS
        if not _has_checkpoints(folder):
            raise BadInput(f"--resume {resume}: no checkpoints in {folder}")
        return Resume(Path(run_dir or path), folder)
    if not path.is_file():
        raise BadInput(f"--resume {resume}: no such run directory or checkpoint (or give auto)")
    if run_dir is None and path.parent.name != CHECKPOINTS:
        raise BadInput(f"--resume {resume} lies outside of a run directory: give --run-dir")
    return Resume(Path(run_dir) if run_dir else path.parent.parent, path)


def _has_checkpoints(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.ckpt"))
