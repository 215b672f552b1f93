"""A replay on disk: .npy files and one JSON file; no pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from agents.replay.arrays import Arrays, flush, load_arrays, save_arrays
from agents.replay.errors import ReplayError
from agents.replay.geometry import ReplayGeometry
from relic_rl.runtime.files import write_json

_FORMAT = 1
_FILE = "replay.json"


class Summary(NamedTuple):
    """What a replay held when it was saved."""

    position: int  # rows ever written
    oldest: int  # oldest row still there
    sequences: int
    priority: float  # sum over sequences


def exists(directory: Path) -> bool:
    """Whether a replay was saved in ``directory``."""
    return (directory / _FILE).is_file()


def write(directory: Path, geometry: ReplayGeometry, arrays: Arrays, summary: Summary, *, mapped: bool) -> None:
    """Save a replay, whole or not at all.

    Args:
        directory: where.
        geometry: its geometry.
        arrays: all its arrays.
        summary: its summary.
        mapped: the arrays are files of ``directory``, and need only be flushed.

    Raises:
        OSError: disk full or unwritable; what was saved in ``directory`` before is still there.
    """
    content: dict[str, Any] = {"format": _FORMAT, "geometry": geometry.to_json(), **summary._asdict()}
    if mapped:
        flush(arrays)
        write_json(directory / _FILE, content)
        return
    fresh, old = (directory.with_name(f".{directory.name}.{part}") for part in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        save_arrays(arrays, fresh)
        write_json(fresh / _FILE, content)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def read(directory: Path, geometry: ReplayGeometry, *, mapped: bool) -> tuple[Arrays, Summary]:
    """The arrays and the summary saved in ``directory``.

    Raises:
        ReplayError: nothing was saved there, it is damaged, or it is a replay of another geometry.
    """
    try:
        content = json.loads((directory / _FILE).read_text())
        form = content["format"]
        saved = ReplayGeometry.from_json(content["geometry"]) if form == _FORMAT else None
        summary = Summary(**{name: content[name] for name in Summary._fields})
    except FileNotFoundError as error:
        raise ReplayError(f"no replay in {directory}: start with an empty one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReplayError(f"replay {directory / _FILE} is damaged: delete {directory}") from error
    if saved is None:
        raise ReplayError(f"replay {directory} has format {form}, expected {_FORMAT}: delete it")
    mine, theirs = geometry.to_json(), saved.to_json()
    different = [f"{key} {theirs[key]} (now {mine[key]})" for key in mine if mine[key] != theirs[key]]
    if different:
        raise ReplayError(f"replay {directory} was made with {', '.join(different)}: use the same options or delete it")
    return load_arrays(geometry.flat_specs(), directory, mapped=mapped), summary
