"""Frozen features: streamed, kept on disk, and never taken for those of something else."""

import json
import os

import numpy as np
import pytest
import torch

from relic_rl.evaluation import features as module
from relic_rl.evaluation.features import (
    FeatureSet,
    feature_key,
    in_memory,
    load_features,
    stored_or_computed,
    stream_features,
)
from relic_rl.images.cache import limit_cache
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit
from relic_rl.representation.encoders import build_encoder
from relic_rl.runtime.errors import RunFailed

CPU = torch.device("cpu")


def stream(count: int = 5, dim: int = 3):
    values = torch.arange(count * dim, dtype=torch.float32).view(count, dim)
    for start in range(0, count, 2):
        yield values[start : start + 2], np.arange(start, min(start + 2, count))


def test_streamed_features_are_the_encoder_s():
    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=1, image_size=(36, 36), feature_dim=8).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 36, 36), dtype=np.uint8)
    split = MemorySplit(LabelledImages(pixels, {"a": np.zeros(5, dtype=np.int64)}, "a", {"a": 1}))
    found, rows = in_memory(stream_features(encoder, split.batches(2), lambda x: x.float() / 255, CPU), 8)
    assert torch.allclose(found, encoder(torch.from_numpy(pixels).float() / 255), atol=1e-6)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert not found.requires_grad


def test_kept_features_are_not_computed_again(tmp_path):
    broken = {"a.jpg": "empty"}
    first = stored_or_computed(tmp_path / "key", stream, 3, broken)
    told: dict[str, str] = {}
    again = stored_or_computed(tmp_path / "key", lambda: pytest.fail("computed again"), 3, told)
    assert torch.equal(first[0], torch.arange(15.0).view(5, 3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert told == broken
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    again[0].zero_()  # a user's own copy: the file stays
    assert torch.equal(load_features(tmp_path / "key").features, torch.arange(15.0).view(5, 3))


def test_the_least_recently_used_set_makes_room(tmp_path, monkeypatch):
    for name in ("a", "b"):
        stored_or_computed(tmp_path / name, stream, 3, {})
        for path in (tmp_path / name, *(tmp_path / name).iterdir()):
            os.utime(path, (1, 1) if name == "a" else (2, 2))
    used, _ = stored_or_computed(tmp_path / "a", stream, 3, {})
    size = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    monkeypatch.setattr(module, "limit_cache", lambda newest: limit_cache(newest, limit=2 * size))
    stored_or_computed(tmp_path / "c", stream, 3, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    limit_cache(tmp_path / "c", limit=0)
    assert torch.equal(used, torch.arange(15.0).view(5, 3))  # whoever has mapped a set keeps it


@pytest.mark.parametrize("damage", ["short", "about", "rows", "json", "huge"])
def test_damaged_features_are_computed_again(tmp_path, damage):
    folder = tmp_path / "key"
    stored_or_computed(folder, stream, 3, {})
    if damage == "short":
        (folder / "features.f32").write_bytes(b"1234")
    elif damage == "rows":
        (folder / "rows.i64").write_bytes(b"12345678")
    elif damage == "about":
        (folder / "about.json").unlink()
    else:
        about = "[1" if damage == "json" else json.dumps({"count": -1, "dim": -15, "broken": {}})
        (folder / "about.json").write_text(about)
    assert load_features(folder) is None
    found, rows = stored_or_computed(folder, stream, 3, {})
    assert torch.equal(found, torch.arange(15.0).view(5, 3))
    assert len(rows) == 5


def test_a_stream_that_fails_leaves_nothing(tmp_path):
    def failing():
        yield from stream(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_or_computed(tmp_path / "key", failing, 3, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunFailed, match=r"none of the images can be used, such as a\.jpg: empty"):
        stored_or_computed(tmp_path / "key", lambda: iter(()), 3, {"a.jpg": "empty"})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmpfs):
    disk = tmpfs("size=64k")
    with pytest.raises(RunFailed, match="--no-cache-features"):
        stored_or_computed(disk / "key", lambda: stream(100_000), 3, {})
    assert list(disk.iterdir()) == []


def test_the_key_tells_everything_apart(monkeypatch):
    key = feature_key(encoder="a", images="b", image_size=84)
    assert key == feature_key(image_size=84, images="b", encoder="a")
    others = [feature_key(encoder="b", images="a", image_size=84), feature_key(encoder="a", images="b", image_size=85)]
    monkeypatch.setattr(module, "_VERSION", 0)
    others.append(feature_key(encoder="a", images="b", image_size=84))
    assert len({key, *others}) == 4


def test_labelled_rows():
    values = torch.tensor([2, -1, 0])
    features = FeatureSet(torch.eye(3), {"a": values, "b": values.abs()}, {"a": 3, "b": 3}, torch.arange(3))
    some, labels = features.labelled("a")
    assert torch.equal(some, torch.eye(3)[[0, 2]])
    assert labels.tolist() == [2, 0]
    assert features.labelled("b")[0] is features.features
