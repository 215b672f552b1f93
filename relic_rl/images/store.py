"""Labelled images on disk: arrays that can be mapped into memory and a JSON file, no pickle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from relic_rl.images.cache import limit_cache, mark_used
from relic_rl.images.labelled import LabelledImages

_IMAGES, _LABELS, _GROUPS, _ABOUT = "images.npy", "labels.npy", "groups.npy", "about.json"


def save_images(folder: Path, images: LabelledImages) -> None:
    """Write a folder of images; it appears whole or not at all, and one that is there already stays.

    Raises:
        OSError: disk full or unwritable.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        np.save(partial / _IMAGES, images.images, allow_pickle=False)
        names = sorted(images.labels)
        np.save(partial / _LABELS, np.stack([images.labels[name] for name in names]), allow_pickle=False)
        if images.groups is not None:
            np.save(partial / _GROUPS, images.groups, allow_pickle=False)
        about = {
            "names": names,
            "primary": images.primary,
            "num_classes": dict(images.num_classes),
            "grouped": images.groups is not None,
        }
        (partial / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was first, with the same content
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_images(folder: Path) -> LabelledImages | None:
    """Read a folder of `save_images`, its pixels mapped, not copied; None where there is none or it is damaged."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        pixels = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
        values = np.load(folder / _LABELS, allow_pickle=False)
        labels = dict(zip(about["names"], values, strict=True))
        groups = np.load(folder / _GROUPS, allow_pickle=False) if about["grouped"] else None
        return LabelledImages(pixels, labels, about["primary"], about["num_classes"], groups)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def stored_or_made(folder: Path, make: Callable[[], LabelledImages]) -> LabelledImages:
    """The images of a folder of the cache; made and kept there first if they are missing or damaged.

    A disk that cannot keep them costs the next run the time to make them again, not this one.
    """
    found = load_images(folder)
    if found is not None:
        mark_used(folder)
        return found
    shutil.rmtree(folder, ignore_errors=True)
    made = make()
    with contextlib.suppress(OSError):
        save_images(folder, made)
        limit_cache(folder)
    return load_images(folder) or made
