"""The presets for photographs train: everything as they say but the size of the run."""

import json
import math
from pathlib import Path

import pytest
import yaml
from image_files import write_photographs

from relic_rl.pretrain import main

SMALL = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--workers", "0", "--batch-size", "12"]
SMALL += ["--epochs", "2", "--warmup-epochs", "1", "--knn-every", "0"]


@pytest.mark.parametrize(
    ("preset", "size"),
    [("imagenet-nature", 84), ("imagenet-impala", 84), ("imagenet-resnet50-100ep", 64), ("imagenet-resnet50", 64)],
)
def test_preset_trains(preset: str, size: int, tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photos")
    run = tmp_path / "run"
    options = ["--data", str(photographs), "--image-size", str(size), "--run-dir", str(run)]
    assert main(["--config", preset, *options, *SMALL]) == 0
    recipe = yaml.safe_load((Path(__file__).parents[1] / "configs" / "pretrain" / f"{preset}.yaml").read_text())
    used = yaml.safe_load((run / "config.yaml").read_text())
    given = {"image_size", "batch_size", "epochs", "warmup_epochs", "workers"}
    assert {name: used[name] for name in recipe.keys() - given} == {n: recipe[n] for n in recipe.keys() - given}
    result = json.loads((run / "result.json").read_text())
    assert (result["updates"], result["skipped_updates"]) == (4, 0)
    losses = (run / "progress.csv").read_text().splitlines()
    last = dict(zip(losses[0].split(","), losses[-1].split(","), strict=True))
    assert math.isfinite(float(last["loss/total"]))
