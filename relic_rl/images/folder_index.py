"""Which image files a folder of classes holds, found once and remembered.

ImageNet's layout: ROOT/train/CLASS/FILE and ROOT/val/CLASS/FILE; a class's folder may have folders inside.
Looking through a million files takes a minute, so the result is kept in the user's cache as JSON and used
again as long as no folder has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relic_rl.images.cache import cache_folder
from relic_rl.runtime.files import write_text

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_VERSION = 1


class PackedPaths:
    """Many file names in two arrays.

    A list of a million Python strings would be copied into every worker process, page by page, as their
    reference counts are touched.
    """

    def __init__(self, paths: list[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._bytes[start : int(self._ends[index])].tobytes())


class FolderIndex(NamedTuple):
    """The files of one split.

    Attributes:
        root: the split's folder.
        paths: relative to it, sorted.
        targets: int64 [N], the class of each.
        classes: names of the classes, sorted; a target is an index into them.
        broken: (path, reason) of files left out: empty ones and links to nowhere.
        fingerprint: SHA-256 over names and sizes, as text.
    """

    root: Path
    paths: PackedPaths
    targets: NDArray[np.int64]
    classes: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]
    fingerprint: str


def index_folder(root: Path) -> FolderIndex:
    """Find the images of a split, or recall them.

    Raises:
        ValueError: no such folder, no class folders, or no images in them.
    """
    if not root.is_dir():
        raise ValueError(f"no folder {root}: images lie in DIR/train/CLASS/FILE (and DIR/val/CLASS/FILE)")
    try:
        found = _recall(root) or _look_through(root)
    except OSError as error:
        raise ValueError(f"{error.filename or root}: {error.strerror}") from error
    if not found["classes"]:
        raise ValueError(f"{root} holds no folders: images lie in {root}/CLASS/FILE")
    if not found["paths"]:
        raise ValueError(f"no usable images in {root}: their names end with {', '.join(SUFFIXES)}")
    return FolderIndex(
        root,
        PackedPaths(found["paths"]),
        np.array(found["targets"], dtype=np.int64),
        tuple(found["classes"]),
        tuple((path, reason) for path, reason in found["broken"]),
        found["fingerprint"],
    )


def restrict_index(index: FolderIndex, rows: NDArray[np.int64]) -> FolderIndex:
    """The files of some rows, int64 [M], in their order; classes keep their numbers."""
    digest = hashlib.sha256(index.fingerprint.encode())
    digest.update(rows.tobytes())
    return index._replace(
        paths=PackedPaths([index.paths[int(row)] for row in rows]),
        targets=index.targets[rows],
        fingerprint=digest.hexdigest(),
    )


def _look_through(root: Path) -> dict[str, Any]:
    """Everything about the folder, as plain values; remembered if it can be."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    folders = {".": root.stat().st_mtime_ns}
    paths, targets, broken = [], [], []
    digest = hashlib.sha256()
    for target, name in enumerate(classes):
        for entry, relative in sorted(_walk(root / name, name, folders, set()), key=lambda pair: pair[1]):
            try:
                size = entry.stat().st_size
            except OSError:
                broken.append((relative, "missing, or a link to nowhere"))
                continue
            if size == 0:
                broken.append((relative, "empty file"))
                continue
            paths.append(relative)
            targets.append(target)
            digest.update(os.fsencode(relative) + f"\0{size}\0".encode())
    found = {
        "version": _VERSION,
        "root": str(root.resolve()),
        "classes": classes,
        "paths": paths,
        "targets": targets,
        "broken": broken,
        "folders": folders,
        "fingerprint": digest.hexdigest(),
    }
    with contextlib.suppress(OSError):  # a cache that cannot be written is none
        place = _place(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        # ASCII with escapes: names that are no valid text (surrogates) come back as they were.
        write_text(place, json.dumps(found))
    return found


def _walk(
    folder: Path, relative: str, folders: dict[str, int], above: set[tuple[int, int]]
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files with an image's suffix below a folder, links followed; notes when each folder last changed."""
    state = folder.stat()
    identity = (state.st_dev, state.st_ino)
    if identity in above:
        return  # a link that leads back up
    folders[relative] = state.st_mtime_ns
    for entry in os.scandir(folder):
        name = f"{relative}/{entry.name}"
        if entry.is_dir():
            yield from _walk(Path(entry.path), name, folders, above | {identity})
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry, name


def _recall(root: Path) -> dict[str, Any] | None:
    """What was remembered, if it is sound and no folder has changed since."""
    try:
        found = json.loads(_place(root).read_text())
        if found["version"] != _VERSION or found["root"] != str(root.resolve()):
            return None
        if len(found["paths"]) != len(found["targets"]) or not found["fingerprint"]:
            return None
        unchanged = all((root / name).stat().st_mtime_ns == time for name, time in found["folders"].items())
        return found if unchanged and "broken" in found and "classes" in found else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # never written, damaged, or a folder is gone


def _place(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return cache_folder() / "folders" / f"{name}.json"
