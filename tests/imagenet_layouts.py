"""Small folders in the layouts of ImageNet and of the data sets that its classifiers are tested on.

Six classes, each a colour, so that whoever maps a folder to a wrong class sees it in the accuracy.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from relic_rl.evaluation.corruptions import CORRUPTIONS
from relic_rl.images.imagenet import imagenet_wnids

PLACES = (0, 2, 10, 11, 100, 999)  # as text, 10 and 100 come before 2
COLOURS = ((220, 20, 20), (20, 220, 20), (20, 20, 220), (220, 220, 20), (20, 220, 220), (220, 20, 220))
WNIDS = tuple(imagenet_wnids()[place] for place in PLACES)
LABELS = ("tench, Tinca tinca", "great white shark", "brambling", "goldfinch", "black swan", "toilet tissue; roll")


def write_images(folder: Path, colour: int, count: int, seed: int = 0, side: int = 40) -> None:
    """PNG files of one colour with some noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, colour])
    for number in range(count):
        pixels = np.array(COLOURS[colour]) + rng.integers(-20, 20, (side, side, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")


def write_imagenet(root: Path, train: int = 6, val: int = 3) -> Path:
    """train/WNID/FILE and val/WNID/FILE."""
    for split, count, seed in (("train", train, 0), ("val", val, 1)):
        for colour, wnid in enumerate(WNIDS):
            write_images(root / split / wnid, colour, count, seed)
    return root


def write_imagenet_r(root: Path) -> Path:
    """WNID/FILE of three of the classes, and of one that nobody trained on."""
    for colour in (1, 3, 5):
        write_images(root / WNIDS[colour], colour, 2, seed=2)
    write_images(root / imagenet_wnids()[500], 0, 2)
    return root


def write_imagenet_v2(root: Path) -> Path:
    """INDEX/FILE."""
    for colour, place in enumerate(PLACES):
        write_images(root / str(place), colour, 2, seed=3)
    return root


def write_imagenet_c(
    root: Path, names: Iterable[str] = CORRUPTIONS, group: str = "", severities: Iterable[int] = range(1, 6)
) -> Path:
    """[GROUP/]CORRUPTION/SEVERITY/WNID/FILE of two classes; from severity 4 on the first looks like the second."""
    for name in names:
        for severity in severities:
            folder = root / group / name / str(severity)
            write_images(folder / WNIDS[0], 1 if severity >= 4 else 0, 1, side=24)
            write_images(folder / WNIDS[1], 1, 1, side=24)
    return root


def write_objectnet(root: Path) -> Path:
    """images/FOLDER/FILE and mappings/: "Swan or finch" is two of ImageNet's classes, "Hammer" none.

    In ImageNet's own order of 2012, which is another than that of the folders, classes are numbered otherwise.
    """
    for folder, colour, count in (("swan", 4, 2), ("shark_toy", 1, 2), ("hammer", 0, 3)):
        write_images(root / "images" / folder, colour, count, seed=4)
    write_images(root / "images" / "finch", 3, 1, seed=5)
    mappings = root / "mappings"
    mappings.mkdir()
    names = {"swan": "Swan or finch", "finch": "Finch or swan", "shark_toy": "Shark", "hammer": "Hammer"}
    (mappings / "folder_to_objectnet_label.json").write_text(json.dumps(names))
    both = f"{LABELS[4]}; {LABELS[3]}"
    meant = {"Swan or finch": both, "Finch or swan": both, "Shark": LABELS[1]}
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps(meant))
    lines = [f"another class {line}" for line in range(1000)]
    for place, label in zip(PLACES, LABELS, strict=True):
        lines[(place + 137) % 1000] = label
    (mappings / "imagenet_to_label_2012_v2").write_text("\n".join(lines) + "\n")
    index = {str(place): (place + 137) % 1000 for place in range(1000)}
    (mappings / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps(index))
    return root
