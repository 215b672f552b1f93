"""`evaluate ldr`: the ratio of an encoder's features, joined with others'."""

from pathlib import Path

import pytest
import torch

from relic_rl.evaluate import main
from relic_rl.evaluation.class_statistics import class_statistics
from relic_rl.evaluation.ldr import discriminant_ratio
from relic_rl.evaluation.report import read_result as result
from relic_rl.images.content_style import content_style_images
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import save_encoder

SMALL = ["--device", "cpu", "--threads", "1", "--workers", "0", "--num-images", "40", "--num-test-images", "160"]


@pytest.fixture
def encoder(tmp_path: Path):
    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=3, image_size=(36, 36), feature_dim=16)
    made_by = {"encoder": "nature", "in_channels": 3, "image_size": [36, 36], "feature_dim": 16, "objective": "relic"}
    save_encoder(tmp_path / "encoder.safetensors", encoder, made_by)
    return encoder


def test_it_is_the_ratio_of_the_features(encoder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("relic_rl.evaluate_kinds.ldr._ROWS", 37)
    file, out = str(tmp_path / "encoder.safetensors"), tmp_path / "out"
    assert main(["ldr", "--encoder", file, *SMALL, "--no-correct-bias", "--out", str(out)]) == 0
    images = content_style_images(160, "test", seed=0, size=36)
    features = encoder(torch.from_numpy(images.images) / 255).detach()
    statistics = class_statistics(features, torch.from_numpy(images.labels["member"]), 40)
    expected = discriminant_ratio(statistics, correct_bias=False)
    found = result(out)
    assert found["metrics"]["member/test/median"] == pytest.approx(expected.median, rel=1e-4)
    assert found["metrics"]["member/test/upper quartile"] == pytest.approx(expected.upper_quartile, rel=1e-4)
    assert set(found["details"]["ratios"]) == {"member/test", "member/ood"}
    assert found["details"]["ratios"]["member/test"]["pairs"] == 40 * 39
    assert {file.name for file in out.iterdir()} == {"result.json", "table.md", "distribution.png"}
    assert "lower quartile" in capsys.readouterr().out


def test_all_labels_and_those_without_a_ratio(encoder, tmp_path, capsys):
    arguments = ["ldr", "--encoder", str(tmp_path / "encoder.safetensors"), *SMALL, "--label"]
    assert main([*arguments, "all", "--out", str(tmp_path / "out")]) == 0
    assert "label noise of ood is left out" in capsys.readouterr().out  # one value of it is kept from training
    found = result(tmp_path / "out")["metrics"]
    assert "noise/test/median" in found
    assert "noise/ood/median" not in found
    assert main([*arguments, "noise", "--out", str(tmp_path / "none")]) == 2
    assert "label noise of ood" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_distributions_side_by_side(encoder, tmp_path, capsys):
    arguments = ["ldr", *SMALL]
    file = ["--encoder", str(tmp_path / "encoder.safetensors")]
    fresh = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36"]
    for name, more in (("a", file), ("b", [*fresh, "--seed", "1"]), ("c", [*fresh, "--seed", "2"])):
        assert main([*arguments, *more, "--out", str(tmp_path / name)]) == 0
    assert main([*arguments, *file, "--no-correct-bias", "--out", str(tmp_path / "raw")]) == 0
    capsys.readouterr()
    three = [str(tmp_path / name) for name in "abc"]
    assert main(["--compare", *three, "--out", str(tmp_path / "all")]) == 0
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {"result.json", "table.md", "metrics.png", "member-test.png", "member-ood.png"}
    assert main(["--compare", str(tmp_path / "raw"), *three[1:], "--out", str(tmp_path / "mixed")]) == 2
    error = capsys.readouterr().err
    assert "correct_bias" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "mixed").exists()


def test_the_paper_s_sum_needs_classes_of_equal_size(encoder, tmp_path, capsys):
    arguments = ["ldr", "--encoder", str(tmp_path / "encoder.safetensors"), *SMALL, "--denominator", "sum", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    assert main([*arguments, str(tmp_path / "other"), "--num-test-images", "150"]) == 2
    assert "classes of equal size" in capsys.readouterr().err
