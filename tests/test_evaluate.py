"""The door to evaluation: what every kind shares, on the cheapest of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import write_photographs

from relic_rl.evaluate import available_kinds, main
from relic_rl.evaluate_kinds.encoders import preparation
from relic_rl.evaluation.knn import knn_accuracy
from relic_rl.evaluation.report import read_result as result
from relic_rl.images.content_style import content_style_images
from relic_rl.images.splits import MemorySplit, Sample
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.views import ViewMaker
from relic_rl.representation.weights import load_encoder_weights, save_encoder

MACHINE = ["--device", "cpu", "--threads", "1", "--workers", "0"]
SMALL = [*MACHINE, "--num-images", "120", "--num-test-images", "40"]
MADE_BY = {"encoder": "nature", "feature_dim": 16, "objective": "relic", "seed": 3}


def write_encoder(path: Path, channels: int = 3, seed: int = 0, **metadata) -> Path:
    torch.manual_seed(seed)
    encoder = build_encoder("nature", in_channels=channels, image_size=(36, 36), feature_dim=16)
    save_encoder(path, encoder, MADE_BY | {"in_channels": channels, "image_size": [36, 36]} | metadata)
    return path


def test_every_kind_is_found_and_lists_itself(capsys):
    assert "knn" in available_kinds()
    assert "shared" not in available_kinds()
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "Nearest neighbours" in out
    assert "--compare" in out


def test_neighbours_on_generated_images(tmp_path, capsys):
    path = write_encoder(tmp_path / "encoder.safetensors")
    out = tmp_path / "out"
    assert main(["knn", "--encoder", str(path), *SMALL, "--k", "5", "20", "--out", str(out)]) == 0
    found = result(out)
    assert found["name"] == "relic"
    assert found["encoder"]["made_by"]["seed"] == 3
    assert set(found["metrics"]) == {f"member/{split}/k={k}" for split in ("test", "ood") for k in (5, 20)}
    encoder = build_encoder("nature", in_channels=3, image_size=(36, 36), feature_dim=16)
    load_encoder_weights(path, encoder)
    train, test = (content_style_images(n, s, seed=0, size=36) for n, s in ((120, "train"), (40, "test")))
    known, asked = (Sample(MemorySplit(part), np.arange(len(part)), "member") for part in (train, test))
    slow = knn_accuracy(encoder, lambda x: x.float() / 255, known, asked, 40, torch.device("cpu"), k=5)
    assert found["metrics"]["member/test/k=5"] == pytest.approx(slow)
    assert "member/test/k=5" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == {"result.json", "table.md", "metrics.png"}


def test_all_labels_and_no_number_where_training_never_showed_a_value(tmp_path):
    untrained = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36"]
    assert main(["knn", *untrained, *SMALL, "--k", "5", "--label", "all", "--out", str(tmp_path / "out")]) == 0
    metrics = result(tmp_path / "out")["metrics"]
    assert metrics["colour/ood/k=5"] is None
    assert metrics["colour/test/k=5"] is not None
    assert metrics["family/ood/k=5"] is not None
    assert main(["knn", *untrained, *SMALL, "--k", "5", "--ood", "ood-colour", "--out", str(tmp_path / "one")]) == 0
    assert set(result(tmp_path / "one")["metrics"]) == {"member/test/k=5", "member/ood-colour/k=5"}


@pytest.mark.parametrize("channels", [3, 4, 1])
def test_folders_without_decoding_twice(tmp_path, channels, monkeypatch):
    root = write_photographs(tmp_path / "photographs", sound=3)
    path = write_encoder(tmp_path / "encoder.safetensors", channels)  # 4: an agent's, 1: of grey images
    arguments = ["knn", "--encoder", str(path), "--data", str(root), *MACHINE, "--k", "3", "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    first = result(tmp_path / "a")
    assert first["encoder"]["grey"] is (channels != 3)
    assert set(first["metrics"]) == {"class/test/k=3"}
    assert "dogs/half.png" in first["data"]["broken_files"]["train"]
    monkeypatch.setattr("relic_rl.images.splits.decode_crops", lambda *_: pytest.fail("decoded again"))
    assert main([*arguments, str(tmp_path / "b")]) == 0
    second = result(tmp_path / "b")
    assert (second["metrics"], second["data"]) == (first["metrics"], first["data"])


def test_without_a_cache_the_same_comes_out(tmp_path):
    path = write_encoder(tmp_path / "encoder.safetensors")
    for name, flag in (("b", "--no-cache-features"), ("a", "--cache-features")):
        assert main(["knn", "--encoder", str(path), *SMALL, "--k", "9", flag, "--out", str(tmp_path / name)]) == 0
    assert result(tmp_path / "a")["metrics"] == result(tmp_path / "b")["metrics"]
    assert len(list((tmp_path / "cache").rglob("about.json"))) == 3


def test_results_are_joined(tmp_path, capsys):
    for seed in (0, 1):
        path = write_encoder(tmp_path / f"{seed}.safetensors", seed=seed)
        arguments = ["--encoder", str(path), *SMALL, "--k", "9", "--seed", str(seed)]
        assert main(["knn", *arguments, "--out", str(tmp_path / f"relic-{seed}")]) == 0
    untrained = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36", *SMALL, "--k", "9"]
    assert main(["knn", *untrained, "--out", str(tmp_path / "none")]) == 0
    # Of no two encoders and no two splits were the features taken for each other's.
    assert len(list((tmp_path / "cache" / "relic_rl" / "features").iterdir())) == 3 * 3
    folders = [str(tmp_path / name) for name in ("relic-0", "relic-1", "none")]
    capsys.readouterr()
    for kind in (["knn"], []):
        assert main([*kind, "--compare", *folders, "--out", str(tmp_path / f"all{len(kind)}")]) == 0
        assert "relic" in capsys.readouterr().out
    joined = json.loads((tmp_path / "all1" / "result.json").read_text())["metrics"]
    both = [result(tmp_path / f"relic-{seed}")["metrics"]["member/test/k=9"] for seed in (0, 1)]
    assert joined["relic"]["member/test/k=9"]["mean"] == pytest.approx(np.mean(both))
    assert joined["untrained"]["member/test/k=9"]["half_width"] is None
    assert "± n/a" in (tmp_path / "all1" / "table.md").read_text()


def test_same_command_same_numbers(tmp_path, monkeypatch):
    arguments = ["knn", "--encoder", "untrained", "--architecture", "nature", "--image-size", "36", *SMALL, "--k", "5"]
    for name in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{name}"))
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
    first, second = (result(tmp_path / name) for name in ("a", "b"))
    for found in (first, second):
        found["options"].pop("out")
        found["versions"].pop("command")
    assert first == second
    assert (tmp_path / "a" / "metrics.png").read_bytes() == (tmp_path / "b" / "metrics.png").read_bytes()


def test_how_encoders_see_images():
    agent, grey = {"env": "ALE/Pong-v5"}, {"color": "grey", "stack": 4}
    assert preparation(3, 3, {}) == (False, 1)
    assert preparation(4, 4, agent) == (False, 1)
    assert preparation(4, 3, agent) == (True, 4)
    assert preparation(4, 3, grey) == (True, 4)
    assert preparation(4, 4, grey) == (False, 1)
    assert preparation(1, 3, {"color": "grey", "stack": 1}) == (True, 1)
    assert preparation(3, 3, {"color": "grey", "stack": 3}) == (True, 3)
    assert preparation(6, 3, {"color": "as the data", "stack": 2}) == (False, 2)
    with pytest.raises(ValueError, match="cannot see images of 4"):
        preparation(3, 4, {})
    pixels = torch.randint(256, (2, 3, 36, 36), dtype=torch.uint8)
    assert ViewMaker((), (), grey=True, stack=4).plain(pixels, 36).shape == (2, 4, 36, 36)


def test_a_disk_without_room_fails_in_one_line(tmp_path, tmpfs, capsys):
    path = write_encoder(tmp_path / "encoder.safetensors")
    disk = tmpfs("size=4k")
    assert main(["knn", "--encoder", str(path), *SMALL, "--k", "5", "--out", str(disk / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space" in error
    assert list(disk.iterdir()) == []
