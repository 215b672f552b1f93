"""`linear` and `finetune` from command line to report."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from relic_rl.evaluate import main
from relic_rl.evaluation.report import read_result as result
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import save_encoder
from relic_rl.runtime.tensor_hash import hash_tensors

MACHINE = ["--device", "cpu", "--threads", "1", "--workers", "0"]
SMALL = [*MACHINE, "--num-images", "160", "--num-test-images", "40", "--image-size", "36", "--epochs", "2"]
UNTRAINED = ["--encoder", "untrained", "--architecture", "nature"]


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Photographs of six kinds of stripes, which a linear classifier tells apart, and one broken file."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for kind in range(6):
            folder = tmp_path / "images" / split / f"kind-{kind}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 40, (40, 40, 3))
                if kind < 3:
                    pixels[..., kind] += 200
                else:
                    pixels[..., [c for c in range(3) if c != kind - 3]] += 200
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "images" / "train" / "kind-0" / "text.jpg").write_text("no image")
    return tmp_path / "images"


def test_linear_on_generated_images(tmp_path):
    arguments = ["linear", *UNTRAINED, *SMALL, "--label", "all"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    found = result(tmp_path / "a")
    assert {"member/test/top1", "member/test/top5", "member/ood/top1", "noise/test/top1"} <= set(found["metrics"])
    assert "noise/test/top5" not in found["metrics"]  # five values
    assert found["metrics"]["colour/ood/top1"] is None
    rates = {"0.1", "0.3", "1.0", "3.0", "10.0", "30.0", "100.0", "300.0"}
    assert set(found["details"]["labels"]["member"]["held_out_top1"]) == rates
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert result(tmp_path / "b")["metrics"] == found["metrics"]
    assert main([*arguments, "--seed", "1", "--out", str(tmp_path / "c")]) == 0
    assert result(tmp_path / "c")["metrics"] != found["metrics"]


@pytest.mark.parametrize("augmentation", ["auto", "none"])
def test_linear_on_a_folder(tmp_path, stripes, augmentation):
    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=3, image_size=(36, 36), feature_dim=32)
    metadata = {"encoder": "nature", "in_channels": 3, "image_size": [36, 36], "feature_dim": 32, "objective": "x"}
    save_encoder(tmp_path / "encoder.safetensors", encoder, metadata)
    arguments = ["linear", "--encoder", str(tmp_path / "encoder.safetensors"), "--data", str(stripes), *MACHINE]
    arguments += ["--augmentation", augmentation, "--epochs", "12", "--train-batch-size", "16"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    found = result(tmp_path / "out")
    assert found["metrics"]["class/test/top1"] > 0.9
    assert found["metrics"]["class/test/top5"] == 1.0
    assert found["details"]["training_images"] == 48
    assert found["data"]["broken_files"] == {"train": {"kind-0/text.jpg": "not an image"}}


def test_only_sound_files_are_learned_from(tmp_path, stripes, monkeypatch):
    """Features have no row for a broken file: places among them are not places among the images."""
    from relic_rl.evaluate_kinds import linear

    (stripes / "train" / "kind-0" / "00-first.jpg").write_text("no image")
    asked = {}

    def recording(evaluation, label, rows, *rest, stream, **more):
        asked[stream] = sorted(evaluation.splits["train"].index.paths[row] for row in rows)
        return batches(evaluation, label, rows, *rest, stream=stream, **more)

    batches = linear.training_batches
    monkeypatch.setattr(linear, "training_batches", recording)
    arguments = ["linear", *UNTRAINED, "--image-size", "36", "--data", str(stripes), *MACHINE, "--epochs", "1"]
    assert main([*arguments, "--learning-rates", "1", "--out", str(tmp_path / "out")]) == 0
    assert asked == {"class fit": [f"kind-{kind}/{i}.png" for kind in range(6) for i in range(8)]}


def test_crops_differ_from_whole_images(tmp_path):
    for name in ("crops", "none"):
        arguments = [*UNTRAINED, *SMALL, "--augmentation", name, "--learning-rates", "1"]
        assert main(["linear", *arguments, "--out", str(tmp_path / name)]) == 0
    assert result(tmp_path / "crops")["metrics"] != result(tmp_path / "none")["metrics"]


def test_finetune(tmp_path, stripes):
    arguments = ["finetune", *UNTRAINED, "--image-size", "36", "--data", str(stripes), *MACHINE, "--epochs", "10"]
    arguments += ["--shares", "0.25", "1", "--learning-rates", "0.001", "0.003", "--train-batch-size", "16"]
    assert main([*arguments, "--augmentation", "none", "--out", str(tmp_path / "out")]) == 0
    found = result(tmp_path / "out")
    assert found["metrics"]["class/test/100 % of labels/top1"] > 0.9
    assert set(found["metrics"]) == {f"class/test/{s} % of labels/top{k}" for s in (25, 100) for k in (1, 5)}
    assert found["details"]["class/25 % of labels"]["labelled_images"] == 12
    assert set(found["details"]["class/100 % of labels"]["held_out_top1"]) == {"0.001", "0.003"}


def test_finetune_leaves_the_encoder_as_it_was(tmp_path, monkeypatch):
    from relic_rl.evaluate_kinds import opening

    seen = []
    load = opening.load_encoder
    monkeypatch.setattr(opening, "load_encoder", lambda *a: seen.append(load(*a)) or seen[-1])
    arguments = ["finetune", *UNTRAINED, *SMALL, "--shares", "1", "--learning-rates", "0.01", "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    assert main([*arguments, str(tmp_path / "b")]) == 0
    assert hash_tensors(seen[0].module.state_dict(), "nature") == seen[0].content_hash == seen[1].content_hash
    assert result(tmp_path / "a")["metrics"] == result(tmp_path / "b")["metrics"]


def test_a_rate_that_diverges_is_told(tmp_path, capsys):
    arguments = [*UNTRAINED, *SMALL, "--learning-rates", "1e25", "--out", str(tmp_path / "out")]
    assert main(["finetune", *arguments, "--shares", "1", "--optimiser", "sgd"]) == 1
    error = capsys.readouterr().err
    assert "give smaller --learning-rates" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
