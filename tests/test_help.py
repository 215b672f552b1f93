"""``--help`` of every door: all options, without waiting for torch."""

import subprocess
import sys

import pytest

DOORS = {
    "train": ("--env", "--alpha", "--num-epochs", "--aux-spacing", "--resume"),
    "pretrain": ("--data", "--small-views", "--target-schedule", "--resume"),
    "compare": ("--games", "--objectives", "--train-options", "--launcher"),
}


EVALUATIONS = {
    "knn": ("--encoder", "--label", "--k", "--compare"),
    "linear": ("--encoder", "--augmentation", "--learning-rates", "--compare"),
    "finetune": ("--encoder", "--shares", "--optimiser", "--compare"),
    "robustness": ("--encoder", "--imagenet-c", "--objectnet", "--own-corruptions", "--compare"),
    "play": ("--run", "--style", "--video", "--protocol", "--compare"),
    "state": ("--encoder", "--games", "--penalties", "--compare"),
}


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_help_of_evaluations_does_not_import_torch(kind: str) -> None:
    code = f"""
import sys
from relic_rl.evaluate import main
try:
    main(["--help"])
    main(["{kind}", "--help"])
finally:
    assert "torch" not in sys.modules and "matplotlib" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in EVALUATIONS[kind]:
        assert option in done.stdout


@pytest.mark.parametrize("door", DOORS)
def test_help_does_not_import_torch(door: str) -> None:
    code = f"""
import sys
from relic_rl.{door} import main
try:
    main(["--help"])
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in DOORS[door]:
        assert option in done.stdout
