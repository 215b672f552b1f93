"""Named arrays, in memory or mapped from .npy files: all that a replay consists of."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.replay.errors import ReplayError


class ArraySpec(NamedTuple):
    """Shape and dtype of an array that does not exist yet."""

    shape: tuple[int, ...]
    dtype: type[np.generic]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


Arrays = dict[str, NDArray[Any]]


def array_path(directory: Path, name: str) -> Path:
    """Where an array lies."""
    return directory / f"{name}.npy"


def allocate(specs: Mapping[str, ArraySpec], directory: Path | None) -> Arrays:
    """Arrays of zeros, in memory, or mapped from new files in ``directory``.

    Raises:
        OSError: the disk cannot hold the files. Their space is reserved here, since a disk that fills up
            later kills a process that writes through a mapping.
    """
    if directory is None:
        return {name: np.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}
    directory.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    for name, spec in specs.items():
        path = array_path(directory, name)
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=spec.dtype, shape=spec.shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        arrays[name] = mapped
    return arrays


def load_arrays(specs: Mapping[str, ArraySpec], directory: Path, *, mapped: bool) -> Arrays:
    """The arrays saved in ``directory``; ``mapped`` ones are written in place from now on.

    Raises:
        ReplayError: a file is missing, damaged, or of another shape or dtype.
    """
    arrays: Arrays = {}
    for name, spec in specs.items():
        path = array_path(directory, name)
        try:
            # First for reading: opened for writing, a file that is too short would be extended.
            array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
            if mapped:
                array = np.load(path, mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReplayError(f"replay {path} cannot be read ({error}): delete {directory}") from error
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise ReplayError(
                f"replay {path} holds {array.dtype} {list(array.shape)}, expected {np.dtype(spec.dtype)} "
                f"{list(spec.shape)}: delete {directory}"
            )
        arrays[name] = array
    return arrays


def save_arrays(arrays: Mapping[str, NDArray[Any]], directory: Path) -> None:
    """Write every array as a .npy file, down to the disk."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        with array_path(directory, name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def flush(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write mapped arrays to the disk; arrays in memory are left alone."""
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
