"""Folders in the layouts of ImageNet-C, -R, -A, V2 and ObjectNet: which of ImageNet's classes each of them is."""

from pathlib import Path

import numpy as np
import pytest
from imagenet_layouts import (
    LABELS,
    PLACES,
    WNIDS,
    write_imagenet_c,
    write_imagenet_r,
    write_imagenet_v2,
    write_images,
    write_objectnet,
)

from relic_rl.images.decoding import central_crop
from relic_rl.images.imagenet import imagenet_wnids
from relic_rl.images.imagenet_variants import (
    Variant,
    imagenet_c_folders,
    imagenet_c_split,
    named_by_index,
    named_by_wnid,
    objectnet,
    objectnet_wnids,
    open_variant,
)
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import FolderSplit, MemorySplit, RowsSplit


def right_classes(variant: Variant) -> list[list[int]]:
    """Of each image the classifier's classes that are right."""
    return [np.flatnonzero(variant.accepted[target]).tolist() for target in variant.targets]


def test_imagenet_s_classes() -> None:
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000
    assert list(wnids) == sorted(wnids)
    # tench, ostrich, black swan, jellyfish, hammer, toilet tissue: well-known places
    known = {0: "n01440764", 9: "n01518878", 100: "n01860187", 107: "n01910747", 587: "n03481172", 999: "n15075141"}
    assert {place: wnids[place] for place in known} == known


def test_folders_named_by_wnid(tmp_path: Path) -> None:
    variant = named_by_wnid(write_imagenet_r(tmp_path / "r"), 24, WNIDS)
    assert right_classes(variant) == [[1], [1], [3], [3], [5], [5]]
    assert (variant.classes, variant.unknown, variant.among_own) == (3, 1, True)
    assert len(variant.split) == 6


def test_folders_named_by_index_are_numbers_and_not_text(tmp_path: Path) -> None:
    variant = named_by_index(write_imagenet_v2(tmp_path / "v2"), 24, WNIDS)
    # Found as text: 0, 10, 100, 11, 2, 999.
    assert [classes[0] for classes in right_classes(variant)][::2] == [0, 2, 4, 3, 1, 5]
    assert not variant.among_own
    all_thousand = named_by_index(tmp_path / "v2", 24, imagenet_wnids())
    assert [classes[0] for classes in right_classes(all_thousand)][::2] == [0, 10, 100, 11, 2, 999]


def test_objectnet_by_its_own_files(tmp_path: Path) -> None:
    root = write_objectnet(tmp_path / "objectnet-1.0")
    meant = objectnet_wnids(root / "mappings")
    assert meant == {"swan": {WNIDS[3], WNIDS[4]}, "finch": {WNIDS[3], WNIDS[4]}, "shark_toy": {WNIDS[1]}}
    for given in (root, tmp_path):
        variant = objectnet(given, 24, WNIDS)
        assert right_classes(variant) == [[3, 4], [1], [1], [3, 4], [3, 4]]  # finch, shark_toy, swan
        assert len(variant.split) == 5  # no hammer
    assert next(variant.split.batches(9)).rows.tolist() == [0, 1, 2, 3, 4]
    assert variant.split.split.border == 2


def test_the_border_is_cut_off_first() -> None:
    crop = central_crop(60, 80, 10, border=2)
    assert (crop.height * 60, crop.width * 80) == pytest.approx((49, 49))
    assert crop.top * 60 == pytest.approx(5.5)
    assert central_crop(3, 3, 10, border=2) == central_crop(3, 3, 10)


@pytest.mark.parametrize("group", ["", "noise"])
def test_imagenet_c_with_or_without_groups(tmp_path: Path, group: str) -> None:
    root = write_imagenet_c(tmp_path / "c", ["gaussian_noise", "spatter"], group)
    (tmp_path / "c" / "stray.txt").write_text("")
    found = imagenet_c_folders(root, ["snow", "gaussian_noise"])
    assert list(found) == ["gaussian_noise"]
    assert list(found["gaussian_noise"]) == [1, 2, 3, 4, 5]
    split = imagenet_c_split(found["gaussian_noise"][2], 24, WNIDS)
    assert split.labels["class"].tolist() == [0, 1]
    whole = next(split.batches(2)).images.numpy()
    from PIL import Image

    pixels = np.asarray(Image.open(found["gaussian_noise"][2] / WNIDS[0] / "0.png")).transpose(2, 0, 1)
    assert np.array_equal(whole[0], pixels)  # not resized, not cropped


def test_rows_of_a_split() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)
    split = MemorySplit(LabelledImages(pixels, {"a": np.arange(7)}, "a", {"a": 7}))
    rows = np.array([1, 4, 5, 6])
    some = RowsSplit(split, rows)
    assert len(some) == 4
    assert some.labels["a"].tolist() == [1, 4, 5, 6]
    batches = list(some.batches(3))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3]]
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), pixels[rows])
    (two,) = some.batches(3, np.array([3, 1]))
    assert two.rows.tolist() == [3, 1]
    assert np.array_equal(two.images, pixels[[6, 4]])
    assert len({split.fingerprint, some.fingerprint, RowsSplit(split, rows[:2]).fingerprint}) == 3


def test_broken_files_shift_nobody_s_class(tmp_path: Path) -> None:
    root = write_imagenet_r(tmp_path / "r")
    (root / WNIDS[1] / "0.png").write_text("no image")
    variant = named_by_wnid(root, 24, WNIDS)
    rows = np.concatenate([batch.rows for batch in variant.split.batches(2)])
    assert rows.tolist() == [1, 2, 3, 4, 5]
    assert variant.targets[rows].tolist() == variant.targets.tolist()[1:]
    assert list(variant.split.broken) == [f"{WNIDS[1]}/0.png"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "words" / "cats", 0, 1)
    with pytest.raises(ValueError, match=r"none of the classes .* WordNet ID"):
        named_by_wnid(tmp_path / "words", 24, WNIDS)
    with pytest.raises(ValueError, match="'cats': those of ImageNetV2 are class indices"):
        named_by_index(tmp_path / "words", 24, WNIDS)
    write_images(tmp_path / "thousand" / "1000", 0, 1)
    with pytest.raises(ValueError, match="from 0 to 999"):
        named_by_index(tmp_path / "thousand", 24, WNIDS)
    with pytest.raises(ValueError, match="none of the classes"):
        named_by_index(write_imagenet_v2(tmp_path / "v2"), 24, ("cats", "dogs"))
    with pytest.raises(ValueError, match="nothing of ImageNet-C"):
        imagenet_c_folders(tmp_path / "words", ["snow"])
    with pytest.raises(ValueError, match="no folder"):
        imagenet_c_folders(tmp_path / "nowhere", ["snow"])
    with pytest.raises(ValueError, match="mappings"):
        objectnet(tmp_path / "words", 24, WNIDS)
    with pytest.raises(ValueError, match="no data set"):
        open_variant("imagenet-x", tmp_path, 24, WNIDS)


SPOILT = {
    "missing": ("imagenet_to_label_2012_v2", None, "No such file"),
    "binary": ("objectnet_to_imagenet_1k.json", b"\xff\xfe", "no text"),
    "no JSON": ("objectnet_to_imagenet_1k.json", b"{", "no JSON"),
    "deep JSON": ("objectnet_to_imagenet_1k.json", b"[" * 100_000, "holds no mapping"),
    "a list": ("folder_to_objectnet_label.json", b"[1]", "holds no mapping"),
    "unknown label": ("imagenet_to_label_2012_v2", b"nothing\n", "do not fit together"),
    "index too large": ("pytorch_to_imagenet_2012_id.json", b'{"1000": 3}', "do not fit together"),
    "no number": ("pytorch_to_imagenet_2012_id.json", b'{"x": 3}', "do not fit together"),
    "a number for a text": ("objectnet_to_imagenet_1k.json", b'{"Shark": 3}', "do not fit together"),
    "a list for a label": ("folder_to_objectnet_label.json", b'{"swan": ["x"]}', "do not fit together"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_mapping_files_are_refused(tmp_path: Path, case: str) -> None:
    root = write_objectnet(tmp_path / "objectnet")
    name, content, says = SPOILT[case]
    path = root / "mappings" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        objectnet(root, 24, WNIDS)


def test_layouts_are_those_meant() -> None:
    assert sorted(map(str, PLACES)) != [str(place) for place in PLACES]
    assert len(LABELS) == len(WNIDS) == len(PLACES)
    assert FolderSplit.__init__.__kwdefaults__["border"] == 0
