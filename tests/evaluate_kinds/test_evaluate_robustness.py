"""`robustness` from command line to report, on folders in the layouts of the real data sets."""

import json

import numpy as np
import pytest
from imagenet_layouts import (
    WNIDS,
    write_imagenet,
    write_imagenet_c,
    write_imagenet_r,
    write_imagenet_v2,
    write_objectnet,
)

from relic_rl.evaluate import main
from relic_rl.evaluate_kinds.robustness import _variant_metrics, compare_figures
from relic_rl.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from relic_rl.evaluation.report import read_result as result
from relic_rl.evaluation.robustness import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, Hits
from relic_rl.images.content_style import content_style_images
from relic_rl.images.imagenet_variants import Variant

MACHINE = ["--device", "cpu", "--threads", "1", "--workers", "0"]
UNTRAINED = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36"]
PROBE = ["--epochs", "30", "--learning-rates", "10", "--augmentation", "none"]


def test_every_data_set(tmp_path, monkeypatch, capsys):
    images = write_imagenet(tmp_path / "imagenet")
    arguments = ["robustness", *UNTRAINED, *MACHINE, *PROBE, "--data", str(images)]
    arguments += ["--imagenet-c", str(write_imagenet_c(tmp_path / "c")), "--objectnet", str(tmp_path / "o")]
    write_objectnet(tmp_path / "o")
    write_imagenet_r(tmp_path / "r")
    arguments += ["--imagenet-r", str(tmp_path / "r"), "--imagenet-a", str(tmp_path / "r")]
    arguments += ["--imagenet-v2", str(write_imagenet_v2(tmp_path / "v2"))]
    monkeypatch.setattr("relic_rl.evaluate_kinds.robustness.imagenet_wnids", lambda: WNIDS)
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    found = result(tmp_path / "out")
    metrics = found["metrics"]
    # Every image has its class's colour, so whatever is mapped to its class is recognised.
    assert metrics["test/top1"] == 1
    for name in ("imagenet-r", "imagenet-a", "imagenet-v2", "objectnet"):
        assert metrics[f"{name}/top1"] == 1, name
    assert "imagenet-r/top5" not in metrics  # it has three classes
    assert metrics["imagenet-v2/top5"] == 1
    # One of two images is wrong at severities 4 and 5.
    assert found["details"]["corruption_errors"]["imagenet-c"]["fog"] == [0, 0, 0, 0.5, 0.5]
    assert metrics["imagenet-c/mean error"] == pytest.approx(0.2)
    assert metrics["imagenet-c/mCE"] == pytest.approx(np.mean([0.2 / error for error in ALEXNET_ERRORS.values()]))
    relative = [0.2 / (error - ALEXNET_CLEAN_ERROR) for error in ALEXNET_ERRORS.values()]
    assert metrics["imagenet-c/relative mCE"] == pytest.approx(np.mean(relative))
    assert "own corruptions/mean error" not in metrics
    assert found["details"]["objectnet"]["images"] == 5
    assert found["details"]["imagenet-r"]["classes_without_a_training_class"] == 1
    assert "imagenet-r: 1 classes without a training class are left out, 3 remain" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"result.json", "table.md", "metrics.png", "imagenet-c.png", "imagenet-c-severities.png"}


def test_no_mce_where_it_would_be_another_number(tmp_path, monkeypatch, capsys):
    images = write_imagenet(tmp_path / "imagenet")
    arguments = ["robustness", *UNTRAINED, *MACHINE, *PROBE, "--data", str(images), "--imagenet-c"]
    part = write_imagenet_c(tmp_path / "part", ["fog", "snow"], severities=(1, 5))
    assert main([*arguments, str(part), "--out", str(tmp_path / "a")]) == 0
    metrics = result(tmp_path / "a")["metrics"]
    assert metrics["imagenet-c/mCE"] is None
    assert metrics["imagenet-c/mean error"] == pytest.approx(0.25)
    assert "no mCE: ImageNet-C is incomplete in gaussian_noise" in capsys.readouterr().out
    whole = write_imagenet_c(tmp_path / "whole", group="all")
    assert main([*arguments, str(whole), "--out", str(tmp_path / "b")]) == 0
    assert result(tmp_path / "b")["metrics"]["imagenet-c/mCE"] is None  # six classes
    assert "1,000 classes" in capsys.readouterr().out


def test_own_corruptions_on_generated_images(tmp_path, capsys):
    arguments = [
        "robustness",
        *UNTRAINED,
        *MACHINE,
        "--num-images",
        "120",
        "--num-test-images",
        "20",
        "--label",
        "colour",
    ]
    arguments += ["--epochs", "3", "--learning-rates", "3"]
    assert main([*arguments, "--num-corrupted", "7", "--batch-size", "4", "--out", str(tmp_path / "a")]) == 0
    found = result(tmp_path / "a")
    errors = found["details"]["corruption_errors"]["own"]
    assert list(errors) == list(CORRUPTIONS)
    assert all(len(row) == len(SEVERITIES) for row in errors.values())
    assert found["details"]["corrupted_images"] == 7
    assert found["metrics"]["own corruptions/mean error"] == pytest.approx(np.mean([*errors.values()]))
    assert found["metrics"]["ood/top1"] is None  # colours that training never shows
    assert "mCE" not in json.dumps(found["metrics"])
    # Other batches and threads: the same images, so the same errors.
    more = ["--num-corrupted", "7", "--batch-size", "5", "--workers", "2", "--out", str(tmp_path / "b")]
    assert main([*arguments, *more]) == 0
    assert result(tmp_path / "b")["details"]["corruption_errors"]["own"] == errors
    assert main(["robustness", "--compare", str(tmp_path / "a"), "--out", str(tmp_path / "joined")]) == 0
    assert (tmp_path / "joined" / "own-corruptions-severities.png").exists()


def test_errors_are_those_of_the_corrupted_images(tmp_path, monkeypatch):
    """Fed one by one through the same classifier, by its own account of what it saw."""
    from relic_rl.evaluate_kinds import robustness

    seen = []
    logits = robustness._logits

    def recording(evaluation, probe, batches):
        for batch in batches:
            for found, rows in logits(evaluation, probe, iter([batch])):
                seen.append((batch.images.numpy().copy(), rows.numpy(), found.argmax(dim=1).numpy()))
                yield found, rows

    monkeypatch.setattr(robustness, "_logits", recording)
    arguments = ["robustness", *UNTRAINED, *MACHINE, "--num-images", "64", "--num-test-images", "6", "--epochs", "1"]
    assert main([*arguments, "--learning-rates", "1", "--out", str(tmp_path / "a")]) == 0
    test = content_style_images(6, "test", seed=0, size=36)
    cases = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    assert len(seen) == len(cases)
    errors = result(tmp_path / "a")["details"]["corruption_errors"]["own"]
    for (name, severity), (images, rows, predicted) in zip(cases, seen, strict=True):
        assert np.array_equal(images[2], corrupt(test.images[2], name, severity))
        wrong = np.mean(predicted != test.labels["member"][rows])
        assert errors[name][severity - 1] == pytest.approx(wrong)


def test_a_data_set_s_own_rule_makes_its_metric():
    hits = Hits(images=10, top1=1, top5=2, own_top1=3, own_top5=4)
    accepted = np.eye(8, 9, dtype=bool)
    for among_own, expected in ((True, (0.3, 0.4)), (False, (0.1, 0.2))):
        variant = Variant(None, accepted, np.zeros(10, dtype=np.int64), among_own, 8, 0)
        assert _variant_metrics("x", variant, hits) == {"x/top1": expected[0], "x/top5": expected[1]}
    few = Variant(None, np.eye(3, 9, dtype=bool), np.zeros(10, dtype=np.int64), True, 3, 0)
    assert _variant_metrics("x", few, hits) == {"x/top1": 0.3}  # of three classes all are among the best five


@pytest.mark.parametrize("details", [None, [1], {"corruption_errors": "x"}, {"corruption_errors": {"own": [1]}}])
def test_results_that_others_wrote_draw_nothing(details):
    assert compare_figures([{"name": "x", "details": details}]) == {}


def test_sound_rows_of_a_result_are_drawn():
    errors = {"own": {"fog": [0.1, 0.2, 0.3, 0.4, 0.5], "snow": ["a"], "frost": []}, "x": {"fog": None}}
    figures = compare_figures([{"name": "x", "details": {"corruption_errors": errors}}])
    assert set(figures) == {"own-corruptions", "own-corruptions-severities"}
    (line,) = figures["own-corruptions-severities"].axes[0].get_lines()
    assert line.get_ydata().tolist() == errors["own"]["fog"]
