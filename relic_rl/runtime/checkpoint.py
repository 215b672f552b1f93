"""Checkpoints: one file each, written whole or not at all, and verified when read.

A file is ``MAGIC | payload length, 8 bytes big-endian | SHA-256 of the payload, 32 bytes | payload``, the
payload being what ``torch.save`` writes of tensors and plain Python values, read back with
``weights_only=True``. It is written beside its place, flushed to disk and renamed, so a killed process or a
full disk leaves the earlier checkpoints as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.files import write_atomically

_FAMILY = b"RELIC-RL checkpoint "
MAGIC = _FAMILY + b"1\n"  # the number is the format's
_HEADER = len(MAGIC) + 8 + 32
_NAME = re.compile(r"step-(\d+)\.ckpt")
BEST = "best.ckpt"


class CheckpointError(BadInput):
    """A checkpoint is missing, damaged or of another make; the message names the file."""


class Loaded(NamedTuple):
    """A checkpoint that was read."""

    state: dict[str, Any]  # tensors are on the CPU
    path: Path
    notes: list[str]  # one line for each newer checkpoint that was damaged and passed over


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the checkpoint of agent step ``step`` lies."""
    return directory / f"step-{step:012d}.ckpt"


def save_checkpoint(
    directory: Path, step: int, state: Mapping[str, Any], *, keep_last: int = 3, is_best: bool = False
) -> Path:
    """Write a checkpoint, then delete what is no longer kept.

    Kept are the ``keep_last`` newest up to ``step``, and the best, as ``best.ckpt`` (a hard link where the
    file system has them, else a copy). Checkpoints of later steps belong to a course that this one replaces
    (they were damaged, or the run was resumed from before them) and are deleted.

    Args:
        directory: made if missing.
        step: agent steps, at least 0.
        state: nested dicts, lists and tuples of tensors and plain values; see `to_plain` for what is
            converted.
        keep_last: at least 1.
        is_best: this is the best so far.

    Returns:
        The file's path.

    Raises:
        TypeError: the state holds something that cannot be saved; the message says where.
        OSError: disk full or unwritable; earlier checkpoints are untouched.
    """
    buffer = io.BytesIO()
    torch.save(to_plain(state), buffer)
    payload = buffer.getbuffer()
    header = MAGIC + len(payload).to_bytes(8, "big") + hashlib.sha256(payload).digest()
    directory.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(directory, step)
    write_atomically(path, header, payload)
    if is_best:
        _link(path, directory / BEST)
    present = list_checkpoints(directory)
    position = present.index(path)
    for stale in present[:position] + present[position + keep_last :]:
        stale.unlink(missing_ok=True)
    return path


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in a directory by step, newest first, ``best.ckpt`` left out."""
    found = [(int(match[1]), p) for p in directory.glob("step-*.ckpt") if (match := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found, reverse=True)]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify one checkpoint; its tensors are on the CPU.

    Raises:
        CheckpointError: missing, unreadable, damaged, or no checkpoint of this project.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
            payload = file.read()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror}") from error
    if header.startswith(_FAMILY) and not header.startswith(MAGIC):
        raise CheckpointError(f"checkpoint {path} is of another version of relic_rl, or damaged")
    if not header.startswith(MAGIC):
        raise CheckpointError(f"{path} is damaged or not a checkpoint of relic_rl")
    if len(header) < _HEADER or len(payload) != int.from_bytes(header[len(MAGIC) : len(MAGIC) + 8], "big"):
        raise CheckpointError(f"checkpoint {path} is incomplete or damaged: its length is wrong")
    if hashlib.sha256(payload).digest() != header[-32:]:
        raise CheckpointError(f"checkpoint {path} is damaged: its content hash is wrong")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises on a payload of another make
        raise CheckpointError(f"checkpoint {path} cannot be read by torch {torch.__version__}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path} holds no state")
    return state


def load_latest(directory: Path) -> Loaded | None:
    """The newest sound checkpoint of a directory, the best one as a last resort; None if there is none at
    all.

    Raises:
        CheckpointError: there are checkpoints, but none is sound.
    """
    candidates = list_checkpoints(directory)
    if (directory / BEST).exists():
        candidates.append(directory / BEST)
    problems: list[str] = []
    for path in candidates:
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return Loaded(state, path, [f"{problem}; used {path.name} instead" for problem in problems])
    if problems:
        raise CheckpointError(f"no sound checkpoint in {directory}: {problems[0]}")
    return None


def to_plain(value: Any, where: str = "state") -> Any:  # noqa: PLR0911 (one return per kind)
    """Tensors and plain Python values only, so that ``torch.load(weights_only=True)`` reads them.

    numpy scalars become Python numbers and numpy arrays tensors; named tuples become tuples, mappings dicts,
    parameters tensors. Tensors are moved to the CPU and carry nothing of a larger storage they are a view of.

    Raises:
        TypeError: anything else; the message says where it is.
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value).copy())
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor if whole else tensor.clone()
    if isinstance(value, Mapping):
        return {to_plain(k, f"{where} key"): to_plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(to_plain(v, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(value, list):
        return [to_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}: a checkpoint holds tensors and plain values only")


def _link(path: Path, best: Path) -> None:
    temporary = best.with_name(f".{best.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(best)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
