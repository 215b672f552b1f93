"""``compare --styles``: what agents play after their training, and what is played already."""

import csv
import json
from pathlib import Path

import pytest

from relic_rl.compare import main
from relic_rl.compare_options import CompareConfig
from relic_rl.compare_plan import make_plan
from relic_rl.compare_styles import style_jobs
from relic_rl.runtime.config import parse_config

SMALL = ["--objectives", "none", "--seeds", "1", "--total-steps", "64", "--measure-seconds", "0", "--threads", "1"]
SMALL += ["--style-episodes", "2", "--train-options", "device=cpu", "precision=fp32", "num_envs=4", "num_steps=16"]
SMALL += ["num_minibatches=2", "num_epochs=1", "eval_episodes=2", "video=false"]
GAME = ["--games", "relic/StyleShift-v0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("styles") / "out"
    assert main([*GAME, *SMALL, "--styles", "unseen", "noise:2", "--run-dir", str(out)]) == 0
    return out


def place(out: Path) -> Path:
    return out / "relic-StyleShift-v0" / "none" / "seed0"


def jobs(out: Path, *options: str) -> list[tuple[str, ...]]:
    config = parse_config(CompareConfig, [*GAME, *SMALL, *options], kind="compare")
    return [job.arguments for job in style_jobs(config, make_plan(config), out)]


def test_every_agent_plays_and_the_report_tells(made):
    result = json.loads((place(made) / "style-shift" / "result.json").read_text())
    assert result["data"]["styles"] == ["none", "unseen", "noise:2"]
    assert result["name"] == "none"
    report = made / "report"
    with (report / "unseen_styles.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["trained"]) == result["metrics"]["mean_return"]
    assert float(row["unseen"]) == result["metrics"]["mean_return/unseen"]
    assert float(row["lost"]) == pytest.approx(float(row["trained"]) - float(row["unseen"]))
    assert row["trained_low"] == ""  # one seed
    assert {"unseen_styles.png", "style_shift.png"} <= {path.name for path in report.iterdir()}


def test_what_was_played_is_not_played_again(made, tmp_path):
    assert jobs(made, "--styles", "noise:2", "unseen") == []
    assert jobs(made, "--styles", "unseen", "--style-episodes", "1") == []
    for options in (["--styles", "blur:1"], ["--styles", "unseen", "--style-episodes", "3"], ["--styles", "noise"]):
        (arguments,) = jobs(made, *options)
        assert arguments[arguments.index("--out") + 1] == str(place(made) / "style-shift-2")
        assert arguments[arguments.index("--device") + 1] == "cpu"
    assert jobs(tmp_path, "--styles", "noise") == []  # nothing is trained yet


def test_other_styles_are_added(made):
    before = (place(made) / "style-shift" / "scores.csv").read_bytes()
    assert main([*GAME, *SMALL, "--styles", "blur:1", "--run-dir", str(made)]) == 0
    assert (place(made) / "style-shift" / "scores.csv").read_bytes() == before
    with (made / "report" / "style_shift.csv").open(newline="") as file:
        assert {"unseen", "noise:2", "blur:1"} <= {row["style"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--styles", "nose"], "noise"),
        (["--styles", "noise:6"], "1 to 5"),
        (["--games", "relic/StyleShift-v0,relic/Catch-v0", "--styles", "unseen"], "keeps no styles"),
    ],
)
def test_styles_that_do_not_exist_are_found_before_anything_is_trained(options, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*([] if "--games" in options else GAME), *SMALL, *options, "--run-dir", str(out)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not out.exists()
