"""Class folders: found, remembered, loaded by workers, and broken files passed over."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import BROKEN, picture
from PIL import Image

from relic_rl.images.batches import BatchPlan
from relic_rl.images.decoding import Crop, decode_crops
from relic_rl.images.folder import FolderSource
from relic_rl.images.folder_index import PackedPaths, index_folder
from relic_rl.representation.crops import crop_boxes
from relic_rl.representation.view_recipes import FIRST_VIEW, SMALL_VIEW, view_draws
from relic_rl.runtime.errors import RunFailed

KEY = 11


def source(folder: Path, **options) -> FolderSource:
    sizes = options.pop("sizes", (24, 16))
    return FolderSource(folder, [FIRST_VIEW, SMALL_VIEW], sizes, eval_size=20, key=KEY, **options)


def plan(data: FolderSource, stop: int, **options) -> BatchPlan:
    return BatchPlan(data.num_images, 8, seed=5, start=0, stop=stop, **options)


def test_index_is_sorted_and_names_what_is_broken(photographs: Path) -> None:
    index = index_folder(photographs / "train")
    assert index.classes == ("cats", "dogs", "猫")
    paths = [index.paths[i] for i in range(len(index.paths))]
    assert paths == sorted(paths)
    assert "猫/имя файла é.JPEG" in paths
    assert "猫/deeper/inside.png" in paths
    assert not any("loop" in path for path in paths)
    assert dict(index.broken) == {
        "cats/empty.jpg": "empty file",
        "dogs/nowhere.jpg": "missing, or a link to nowhere",
    }
    for path, target in zip(paths, index.targets, strict=True):
        assert path.split("/")[0] == index.classes[target]


def test_index_is_remembered_until_something_changes(photographs: Path, own_cache: Path, monkeypatch) -> None:
    import relic_rl.images.folder_index as module

    first = index_folder(photographs / "train")
    walks = []
    look = module._look_through
    monkeypatch.setattr(module, "_look_through", lambda root: walks.append(root) or look(root))
    again = index_folder(photographs / "train")
    assert walks == []
    assert again.fingerprint == first.fingerprint
    assert [again.paths[i] for i in range(len(again.paths))] == [first.paths[i] for i in range(len(first.paths))]

    time.sleep(0.01)
    Image.fromarray(picture(77)).save(photographs / "train" / "cats" / "new.png")
    changed = index_folder(photographs / "train")
    assert len(walks) == 1
    assert len(changed.paths) == len(first.paths) + 1
    assert changed.fingerprint != first.fingerprint

    (remembered,) = (own_cache / "folders").iterdir()
    json.loads(remembered.read_text())  # plain JSON: no pickle is ever read
    for damage in ("", "[]", "{}", '{"version": 1}', remembered.read_text()[:-20]):
        remembered.write_text(damage)
        assert index_folder(photographs / "train").fingerprint == changed.fingerprint


def test_an_unwritable_cache_is_none(photographs: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(index_folder(photographs / "train").paths) > 10


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "class"
    folder.mkdir(parents=True)
    Image.fromarray(picture(0)).save(folder / "a.png")
    os.rename(folder / "a.png", os.fsencode(folder) + b"/\xff\xfe.png")
    for _ in range(2):  # looked for, then remembered
        index = index_folder(tmp_path / "train")
        decode_crops(index.root / index.paths[0], lambda h, w: [Crop(0, 0, 1, 1, 8)])


def test_packed_paths() -> None:
    names = ["a", "", "猫/x", "b" * 300]
    packed = PackedPaths(names)
    assert len(packed) == 4
    assert [packed[i] for i in range(4)] == names


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_pass_over_broken_files(photographs: Path, workers: int) -> None:
    data = source(photographs, workers=workers)
    seen = list(data.batches(plan(data, stop=9)))
    assert [batch.number for batch in seen] == list(range(9))
    for batch in seen:
        assert [view.shape for view in batch.images] == [(8, 3, 24, 24), (8, 3, 16, 16)]
        assert all(view.dtype == torch.uint8 for view in batch.images)
        assert batch.labels.shape == (8,)
    assert set(data.broken) == BROKEN  # three epochs: every file was tried
    assert data.broken["train/dogs/text.jpg"] == "not an image"
    assert "too large" in data.broken["train/猫/enormous.png"]


def test_crops_are_those_that_the_draws_say(photographs: Path) -> None:
    data = source(photographs)
    batch = next(iter(data.batches(plan(data, stop=1))))
    indices = next(iter(plan(data, stop=1))).indices
    draws = view_draws(KEY, 0, 2, 8, slice(0, 8))
    row = next(i for i in range(8) if Path(data.index.paths[int(indices[i])]).stem.isdigit())
    path = data.index.root / data.index.paths[int(indices[row])]
    height, width = picture(0).shape[:2]
    for view, (recipe, size) in enumerate(((FIRST_VIEW, 24), (SMALL_VIEW, 16))):
        uniform = draws[view].crop[row : row + 1]
        sides = np.array([height]), np.array([width])
        box = crop_boxes(uniform, *sides, recipe.crop_area, recipe.crop_ratio)[0]
        (expected,) = decode_crops(path, lambda h, w, box=box, size=size: [Crop(*box, size)])
        assert np.abs(batch.images[view][row].numpy().astype(int) - expected).max() <= 40
        assert np.abs(batch.images[view][row].numpy().astype(int) - expected).mean() < 3


def test_batches_do_not_depend_on_workers_processes_or_where_one_starts(photographs: Path) -> None:
    data = source(photographs)
    whole = list(data.batches(plan(data, stop=5)))
    with_workers = source(photographs, workers=2)
    for a, b in zip(whole, with_workers.batches(plan(data, stop=5)), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
    late = list(data.batches(BatchPlan(data.num_images, 8, seed=5, start=3, stop=5)))
    assert all(torch.equal(x, y) for x, y in zip(whole[3].images, late[0].images, strict=True))
    halves = [list(data.batches(plan(data, stop=5, rank=rank, world_size=2))) for rank in (0, 1)]
    for number in range(5):
        joined = torch.cat([halves[0][number].images[0], halves[1][number].images[0]])
        assert torch.equal(joined, whole[number].images[0])


def test_only_broken_files_left_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "class"
    folder.mkdir(parents=True)
    for i in range(10):
        (folder / f"{i}.jpg").write_text("nothing")
    data = source(tmp_path)
    with pytest.raises(RunFailed, match=r"class/\d.jpg: not an image"):
        next(iter(data.batches(plan(data, stop=1))))


def test_a_worker_that_dies_ends_the_run_in_one_line(photographs: Path, monkeypatch) -> None:
    import relic_rl.images.folder as module

    monkeypatch.setattr(module.CroppedBatches, "__getitem__", lambda self, spec: os._exit(9))
    data = source(photographs, workers=1)
    with pytest.raises(RunFailed, match="--workers"):
        list(data.batches(plan(data, stop=1)))


def test_test_images_are_whole_and_labelled_as_in_training(photographs: Path) -> None:
    data = source(photographs)
    test = data.test_sample(9)
    assert test is not None
    images = torch.cat([batch.images for batch in test.split.batches(4, test.rows)])
    assert images.shape == (9, 3, 20, 20)
    assert set(test.split.labels["class"][test.rows].tolist()) == {0, 1, 2}
    assert np.array_equal(test.rows, data.test_sample(9).rows)
    known = data.reference_sample(1000)
    found = sum(len(batch.rows) for batch in known.split.batches(4, known.rows))
    assert found == data.num_images - len(BROKEN) + 2  # two were never indexed
    assert set(data.broken) == BROKEN


def test_layouts_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DIR/train/CLASS"):
        source(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="holds no folders"):
        source(tmp_path)
    (tmp_path / "train" / "class").mkdir()
    with pytest.raises(ValueError, match="no usable images"):
        source(tmp_path)
    Image.fromarray(picture(0)).save(tmp_path / "train" / "class" / "a.png")
    (tmp_path / "val" / "other").mkdir(parents=True)
    Image.fromarray(picture(0)).save(tmp_path / "val" / "other" / "a.png")
    with pytest.raises(ValueError, match="'other'"):
        source(tmp_path)
