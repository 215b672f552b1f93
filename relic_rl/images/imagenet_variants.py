"""The data sets that ImageNet classifiers are tested on beside its validation images, in the layouts they come in.

Each has its own way of saying which of ImageNet's classes a folder is:

- ImageNet-C (Hendrycks and Dietterich, 2019): [GROUP/]CORRUPTION/SEVERITY/WNID/FILE, images of 224 pixels, shown whole;
- ImageNet-R (Hendrycks et al., 2021) and ImageNet-A (Hendrycks et al., 2021): WNID/FILE for 200 of the 1,000 classes;
  a prediction is the best among those 200;
- ImageNetV2 (Recht et al., 2019): INDEX/FILE, 0 to 999, a class index (sorted as text, 10 would come before 2);
- ObjectNet (Barbu et al., 2019): images/FOLDER/FILE and four mapping files; 113 of its 313 classes are ImageNet's, some
  of them several of ImageNet's at once; the images have a border that is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relic_rl.images.imagenet import imagenet_wnids
from relic_rl.images.splits import CLASS, FolderSplit, RowsSplit, Split

_OBJECTNET_BORDER = 2  # pixels, as everybody cuts off


@dataclass(frozen=True)
class Variant:
    """Images of a data set that a classifier of C classes can be asked about.

    Attributes:
        split: N images.
        accepted: bool [D, C], which of the classifier's classes are right for each of the D classes of the data set.
        targets: int64 [N], the data set's class of each image.
        among_own: whether a prediction is the best among the classes that are right for any image, as of ImageNet-R
            and -A, rather than among all.
        classes: how many classes of the data set are the classifier's.
        unknown: how many are not; their images are left out.
    """

    split: Split
    accepted: NDArray[np.bool_]
    targets: NDArray[np.int64]
    among_own: bool
    classes: int
    unknown: int


def named_by_wnid(root: Path, size: int, classes: Sequence[str], *, workers: int = 0) -> Variant:
    """ImageNet-R or -A: folders that are named as those of the training images; arguments as `open_variant`'s.

    Raises:
        ValueError: no such folder, or none of its classes is the classifier's.
    """
    split = FolderSplit(root, size, workers=workers)
    return _variant(split, root, [{name} for name in split.classes], classes, among_own=True)


def named_by_index(root: Path, size: int, classes: Sequence[str], *, workers: int = 0) -> Variant:
    """ImageNetV2: folders that are named by class index; arguments as `open_variant`'s.

    Raises:
        ValueError: no such folder, a folder that is no class index, or none of its classes is the classifier's.
    """
    split = FolderSplit(root, size, workers=workers)
    wnids = imagenet_wnids()
    for name in split.classes:
        if not (name.isascii() and name.isdigit() and int(name) < len(wnids)):
            raise ValueError(f"{root} has a folder {name!r}: those of ImageNetV2 are class indices from 0 to 999")
    return _variant(split, root, [{wnids[int(name)]} for name in split.classes], classes, among_own=False)


def objectnet(root: Path, size: int, classes: Sequence[str], *, workers: int = 0) -> Variant:
    """ObjectNet as its archive unpacks, images/ and mappings/, maybe in objectnet-1.0/; arguments as `open_variant`'s.

    Raises:
        ValueError: no such folder, mapping files that are missing or do not fit together, or no class in common.
    """
    if (root / "objectnet-1.0").is_dir():
        root = root / "objectnet-1.0"
    if not (root / "mappings").is_dir():
        raise ValueError(f"no folder {root / 'mappings'}: ObjectNet comes with one beside images/")
    meant = objectnet_wnids(root / "mappings")
    split = FolderSplit(root / "images", size, workers=workers, border=_OBJECTNET_BORDER)
    return _variant(split, root, [meant.get(name, set()) for name in split.classes], classes, among_own=False)


def objectnet_wnids(mappings: Path) -> dict[str, set[str]]:
    """ImageNet's classes, as WordNet IDs, by ObjectNet's image folder; folders without one are not in it.

    The chain of ObjectNet's own files: folder -> its label (folder_to_objectnet_label.json) -> labels of ImageNet,
    separated by "; " (objectnet_to_imagenet_1k.json) -> the line of each, from 0, in imagenet_to_label_2012_v2 -> the
    class index that has this line in pytorch_to_imagenet_2012_id.json -> the WordNet ID.

    Args:
        mappings: the folder with the four files.

    Raises:
        ValueError: a file is missing, or a link of the chain is.
    """
    labels = _read_json(mappings / "folder_to_objectnet_label.json")
    imagenet = _read_json(mappings / "objectnet_to_imagenet_1k.json")
    index = _read_json(mappings / "pytorch_to_imagenet_2012_id.json")
    lines = _read(mappings / "imagenet_to_label_2012_v2").splitlines()
    wnids = imagenet_wnids()
    found = {}
    try:
        of_line = {int(line): wnids[int(place)] for place, line in index.items()}
        of_label = {label.strip(): of_line[number] for number, label in enumerate(lines) if number in of_line}
        for folder, label in labels.items():
            if label in imagenet:
                found[folder] = {of_label[part.strip()] for part in imagenet[label].split("; ")}
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{mappings}: the mapping files do not fit together at {error}: unpack them again") from error
    return found


def imagenet_c_folders(root: Path, corruptions: Sequence[str]) -> dict[str, dict[int, Path]]:
    """Where each corruption's five severities are: CORRUPTION/SEVERITY, or GROUP/CORRUPTION/SEVERITY.

    Args:
        root: ImageNet-C's folder.
        corruptions: names that count; others, such as those of its "extra" archive, are not looked at.

    Returns:
        By corruption, in the order of `corruptions`, and severity from 1 to 5; what is not there is left out.

    Raises:
        ValueError: no such folder, or nothing of ImageNet-C in it.
    """
    if not root.is_dir():
        raise ValueError(f"no folder {root}: give that of ImageNet-C, with CORRUPTION/SEVERITY/WNID/FILE")
    try:
        places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    except OSError as error:
        raise ValueError(f"{error.filename or root}: {error.strerror}") from error
    found: dict[str, dict[int, Path]] = {}
    for name in corruptions:
        severities = _severities(places, name)
        if severities:
            found[name] = severities
    if not found:
        raise ValueError(f"{root} holds nothing of ImageNet-C: it has folders such as gaussian_noise/1/n01440764")
    return found


def imagenet_c_split(folder: Path, size: int, classes: Sequence[str], *, workers: int = 0) -> FolderSplit:
    """One corruption at one severity; the images are shown whole, since they are cropped already.

    Raises:
        ValueError: no images in the layout, or a class that is not the classifier's.
    """
    return FolderSplit(folder, size, classes=classes, workers=workers, whole=True)


def _severities(places: Sequence[Path], name: str) -> dict[int, Path]:
    for place in places:
        severities = {severity: place / name / str(severity) for severity in range(1, 6)}
        there = {severity: path for severity, path in severities.items() if path.is_dir()}
        if there:
            return there
    return {}


def open_variant(name: str, root: Path, size: int, classes: Sequence[str], *, workers: int = 0) -> Variant:
    """A data set by its name.

    Args:
        name: imagenet-r, imagenet-a, imagenet-v2 or objectnet.
        root: the data set's folder.
        size: height and width that images are shown at, pixels.
        classes: names of the classifier's C classes, those of the training folders, WordNet IDs.
        workers: processes that decode.

    Raises:
        ValueError: as each data set's own function.
    """
    match name:
        case "imagenet-r" | "imagenet-a":
            return named_by_wnid(root, size, classes, workers=workers)
        case "imagenet-v2":
            return named_by_index(root, size, classes, workers=workers)
        case "objectnet":
            return objectnet(root, size, classes, workers=workers)
    raise ValueError(f"no data set {name!r}")


def _variant(
    split: FolderSplit, root: Path, meant: Sequence[set[str]], classes: Sequence[str], among_own: bool
) -> Variant:
    """The images whose classes, in the classifier's names, are among the classifier's."""
    number = {name: place for place, name in enumerate(classes)}
    accepted = np.zeros((len(meant), len(classes)), dtype=bool)
    for row, names in enumerate(meant):
        accepted[row, [number[name] for name in names if name in number]] = True
    known = np.asarray(accepted.any(axis=1))
    rows = np.flatnonzero(known[split.labels[CLASS]])
    if not len(rows):
        raise ValueError(
            f"none of the classes in {root} is a training class: those of --data must be named by WordNet ID, n01440764"
        )
    some: Split = split if len(rows) == len(split) else RowsSplit(split, rows)
    return Variant(some, accepted, split.labels[CLASS][rows], among_own, int(known.sum()), int((~known).sum()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: ObjectNet's archive holds it, unpack it again") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: ObjectNet's archive holds it, unpack it again") from error


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: ObjectNet's archive holds it, unpack it again") from error
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no mapping: ObjectNet's archive holds it, unpack it again")
    return found
