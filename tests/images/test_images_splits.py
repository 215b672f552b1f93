"""Splits streamed in order: each file decoded once, broken ones left out, classes numbered as asked for."""

import numpy as np
import pytest
import torch
from image_files import picture, write_photographs
from PIL import Image

from relic_rl.images import splits
from relic_rl.images.decoding import central_crop, decode_crops
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import FolderSplit, MemorySplit


def test_memory_is_streamed_in_order():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)
    labels = {"a": np.arange(7), "b": np.full(7, -1)}
    split = MemorySplit(LabelledImages(pixels, labels, "a", {"a": 7, "b": 2}))
    batches = list(split.batches(3))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert np.array_equal(torch.cat([batch.images for batch in batches]).numpy(), pixels)
    chosen = list(split.batches(2, np.array([5, 1, 6])))
    assert [batch.rows.tolist() for batch in chosen] == [[5, 1], [6]]
    assert np.array_equal(torch.cat([batch.images for batch in chosen]).numpy(), pixels[[5, 1, 6]])


@pytest.mark.parametrize("workers", [0, 2])
def test_folder_is_streamed_in_order_each_file_once(tmp_path, monkeypatch, workers):
    root = write_photographs(tmp_path / "photographs", sound=3)
    decoded = []

    def counting(path, choose):
        decoded.append(str(path))
        return decode_crops(path, choose)

    monkeypatch.setattr(splits, "decode_crops", counting)
    split = FolderSplit(root / "train", 24, workers=workers)
    batches = list(split.batches(4))
    rows = np.concatenate([batch.rows for batch in batches])
    assert np.array_equal(rows, np.sort(rows))
    broken = {row for row in range(len(split)) if split.index.paths[row] in split.broken}
    assert set(rows) == set(range(len(split))) - broken
    assert {"cats/truncated.jpg", "cats/empty.jpg", "dogs/text.jpg", "dogs/half.png"} <= set(split.broken)
    if not workers:
        assert len(decoded) == len(set(decoded)) == len(split)
    images = torch.cat([batch.images for batch in batches])
    assert images.shape == (len(rows), 3, 24, 24)
    for row, image in zip(rows.tolist(), images, strict=True):
        (expected,) = decode_crops(root / "train" / split.index.paths[row], lambda h, w: [central_crop(h, w, 24)])
        assert np.array_equal(image.numpy(), expected)


def test_classes_are_numbered_as_asked_for(tmp_path):
    for split, names in (("train", "abc"), ("val", "ca")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(picture(0)).save(tmp_path / split / name / "0.png")
    train = FolderSplit(tmp_path / "train", 16)
    val = FolderSplit(tmp_path / "val", 16, classes=train.classes)
    assert train.labels["class"].tolist() == [0, 1, 2]
    assert val.labels["class"].tolist() == [0, 2]
    assert FolderSplit(tmp_path / "val", 16).labels["class"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="has a class 'b'"):
        FolderSplit(tmp_path / "train", 16, classes=("a", "c"))


def test_what_tells_data_apart(tmp_path):
    root = tmp_path / "val"
    (root / "a").mkdir(parents=True)
    Image.fromarray(picture(0)).save(root / "a" / "0.png")
    small, large = FolderSplit(root, 16), FolderSplit(root, 20)
    whole, renumbered = FolderSplit(root, 16, whole=True), FolderSplit(root, 16, classes=("0", "a"))
    assert small.identity == large.identity == whole.identity != renumbered.identity
    assert len({split.fingerprint for split in (small, large, whole, renumbered)}) == 4
    with_all = next(whole.batches(1)).images
    assert not torch.equal(with_all, next(small.batches(1)).images)
