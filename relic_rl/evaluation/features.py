"""Frozen features of a split: computed in one pass over its images, kept on disk for the next evaluation.

On disk a set is a folder of raw float32 rows, the rows' numbers and a JSON file; nothing that could be code. It is
written as it is computed and mapped back, so that neither images nor features need to fit in memory. Its name is a
hash over what the features depend on: the encoder's weights, the images and how they are shown. Sets that have not been
used for longest make room for new ones: see `limit_cache`.

Several processes each compute a part of a split's batches (`own_rows`) and all of them get all (`in_turn`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relic_rl.images.cache import limit_cache, mark_used
from relic_rl.images.splits import SplitBatch
from relic_rl.runtime.distributed import Processes, gather_to_all
from relic_rl.runtime.errors import RunFailed
from relic_rl.runtime.precision import autocast

_FEATURES, _ROWS, _ABOUT = "features.f32", "rows.i64", "about.json"
_VERSION = 1


@dataclass(frozen=True)
class FeatureSet:
    """Features of N images and what is known of each (D: features).

    Attributes:
        features: float32 [N, D], on the CPU; perhaps mapped from disk.
        labels: by name, int64 [N]; -1 where an image has no such label.
        num_classes: by name, the number of values a label has.
        rows: int64 [N], which images of the split they are; a broken file has none.
        groups: int64 [N], which of them are near copies, as of `LabelledImages`; None where none are known to be.
    """

    features: Tensor
    labels: Mapping[str, Tensor]
    num_classes: Mapping[str, int]
    rows: Tensor
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def labelled(self, label: str) -> tuple[Tensor, Tensor]:
        """Features [M, D] and labels int64 [M] of the images that have a label of this name."""
        values = self.labels[label]
        known = values >= 0
        return (self.features, values) if bool(known.all()) else (self.features[known], values[known])


@torch.no_grad()
def stream_features(
    encoder: nn.Module,
    batches: Iterable[SplitBatch],
    prepare: Callable[[Tensor], Tensor],
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Features of batches of images, one batch in memory at a time.

    Args:
        encoder: in evaluation mode, on the device.
        batches: the images.
        prepare: makes images, uint8 [B, C, H, W], what the encoder takes.
        device: the encoder's.
        dtype: of autocast; None computes in fp32.

    Yields:
        Features, float32 [B, D], on the device, and the rows of the split that they belong to, int64 [B].
    """
    for batch in batches:
        with autocast(device, dtype):
            features = encoder(prepare(batch.images.to(device)))
        yield features.float(), batch.rows


def own_rows(count: int, batch_size: int, processes: Processes) -> NDArray[np.int64]:
    """The rows, of ``count``, of this process's batches: every R-th, so that batches are those of one process."""
    batch = np.arange(count, dtype=np.int64) // batch_size
    return np.flatnonzero(batch % processes.world_size == processes.rank)


def in_turn(
    own: Iterable[tuple[Tensor, NDArray[np.int64]]],
    count: int,
    batch_size: int,
    broken: dict[str, str],
    processes: Processes,
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """The features of all processes in the order of the rows; each process calls it with those of its `own_rows`.

    Args:
        own: features [B, D] and rows int64 [B], ascending; a batch whose images are all broken is left out.
        count: N, of all rows.
        batch_size: B.
        broken: path: reason, of the files that could not be used; at the end those of the others are added.
        processes: this one among all.
    """
    ahead = iter(own)
    waiting = next(ahead, None)
    num_batches = -(-count // batch_size)
    for first in range(0, num_batches, processes.world_size):
        mine = None
        if waiting is not None and int(waiting[1][0]) // batch_size == first + processes.rank:
            mine, waiting = (waiting[0].cpu(), waiting[1]), next(ahead, None)
        yield from (batch for batch in gather_to_all(mine) if batch is not None)
    for theirs in gather_to_all(dict(broken)):
        broken.update(theirs)


def feature_key(**parts: str | int | bool) -> str:
    """The name of a set on disk: a hash over all that its features depend on."""
    text = json.dumps({"version": _VERSION} | parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def in_memory(stream: Iterable[tuple[Tensor, NDArray[np.int64]]], dim: int) -> tuple[Tensor, Tensor]:
    """All of a stream: features, float32 [N, dim], on the CPU, and rows, int64 [N]."""
    features, rows = [torch.empty(0, dim)], [torch.empty(0, dtype=torch.int64)]
    for some, of in stream:
        features.append(some.cpu())
        rows.append(torch.from_numpy(of))
    return torch.cat(features), torch.cat(rows)


class Stored(NamedTuple):
    """What a folder of `save_features` holds.

    Attributes:
        features: float32 [N, D], mapped from disk.
        rows: int64 [N].
        broken: path: reason, of the files that could not be used.
    """

    features: Tensor
    rows: Tensor
    broken: dict[str, str]


def load_features(folder: Path) -> Stored | None:
    """Read what `save_features` wrote; None where there is none or it is damaged."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        count, dim, broken = about["count"], about["dim"], about["broken"]
        if type(count) is not int or type(dim) is not int or count < 1 or dim < 1:
            return None
        if (folder / _FEATURES).stat().st_size != 4 * count * dim:
            return None
        # Copy-on-write: torch wants memory that may be written, the file must stay as it is.
        features = np.memmap(folder / _FEATURES, dtype="<f4", mode="c", shape=(count, dim))
        rows = np.fromfile(folder / _ROWS, dtype="<i8")
        if len(rows) != count or not isinstance(broken, dict):
            return None
        return Stored(torch.from_numpy(features), torch.from_numpy(rows), broken)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_features(
    folder: Path, stream: Iterable[tuple[Tensor, NDArray[np.int64]]], dim: int, broken: Mapping[str, str]
) -> None:
    """Write a stream as it comes; the folder appears whole or not at all.

    Args:
        folder: where; one that is there already stays.
        stream: features [B, dim] and rows.
        dim: features of an image.
        broken: path: reason, of the files that could not be used; looked at when the stream has ended.

    Raises:
        RunFailed: the folder cannot be written, or no image could be used.
    """
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        count = 0
        with (partial / _FEATURES).open("wb") as features, (partial / _ROWS).open("wb") as rows:
            for some, of in stream:
                features.write(np.ascontiguousarray(some.cpu().numpy(), dtype="<f4").data)
                rows.write(np.ascontiguousarray(of, dtype="<i8").data)
                count += len(of)
        if not count:
            raise RunFailed(
                "none of the images can be used" + "".join(f", such as {n}: {r}" for n, r in [*broken.items()][:1])
            )
        about = {"count": count, "dim": dim, "broken": dict(broken)}
        (partial / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.rename(partial, folder)
    except OSError as error:
        if folder.is_dir():  # another process was first, with the same content
            return
        reason = error.strerror or str(error)
        raise RunFailed(
            f"features cannot be kept in {folder.parent}: {reason}; free it or --no-cache-features"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def stored_or_computed(
    folder: Path,
    stream: Callable[[], Iterable[tuple[Tensor, NDArray[np.int64]]]],
    dim: int,
    broken: dict[str, str],
    processes: Processes = Processes(),  # noqa: B008 (immutable)
) -> tuple[Tensor, Tensor]:
    """Features and rows of a folder of `save_features`; computed and kept there first if missing or damaged.

    Several processes compute together; one of each machine writes, as machines may not share their disks.

    Args:
        folder: where.
        stream: computes them; of several processes each gets all.
        dim: features of an image.
        broken: path: reason, of the files that could not be used; those that the folder tells of are added.
        processes: this one among all.

    Raises:
        RunFailed: the folder cannot be written, or no image could be used.
    """
    found = load_features(folder)
    if not all(gather_to_all(found is not None)):
        if found is None and processes.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
            save_features(folder, stream(), dim, broken)
            limit_cache(folder)
        else:
            for _ in stream():
                pass
        gather_to_all(None)  # written
        found = load_features(folder)
    if found is None:
        raise RunFailed(f"features kept in {folder} cannot be read back: give --no-cache-features")
    mark_used(folder)
    broken.update(found.broken)
    return found.features, found.rows
