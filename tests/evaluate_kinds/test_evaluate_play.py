"""``evaluate play`` at the door: what it plays, writes and refuses."""

import csv
import json
from pathlib import Path

import pytest

from relic_rl.evaluate import main
from relic_rl.train import main as train

RUN = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "4", "--eval-episodes", "6"]


def trained(folder: Path, *options: str) -> Path:
    assert train([*RUN, *options, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    options = ["--env", "relic/StyleShift-v0", "--total-steps", "512", "--num-steps", "32", "--objective", "none"]
    return trained(tmp_path_factory.mktemp("play") / "run", *options)


def own_scores(run: Path) -> list[float]:
    """Of the final evaluation that training ended with."""
    return json.loads((run / "result.json").read_text())["evaluation"]["returns"]


def play(run: Path, out: Path, *options: str) -> int:
    return main(["play", "--run", str(run), "--out", str(out), "--device", "cpu", "--threads", "1", *options])


def test_scores_styles_and_files(run, tmp_path):
    assert play(run, tmp_path / "a", "--episodes", "6", "--style", "noise:2", "unseen") == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"result.json", "table.md", "scores.csv", "styles.png"} <= names
    rows = list(csv.DictReader((tmp_path / "a" / "scores.csv").open()))
    assert [(row["style"], row["severity"]) for row in rows[::6]] == [("none", "0"), ("noise", "2"), ("unseen", "0")]
    assert len(rows) == 18
    # The games of the run's own final evaluation, in its order.
    assert [float(row["score"]) for row in rows[:6]] == own_scores(run)
    assert play(run, tmp_path / "b", "--episodes", "6", "--style", "noise:2", "unseen") == 0
    assert (tmp_path / "a" / "scores.csv").read_bytes() == (tmp_path / "b" / "scores.csv").read_bytes()
    assert play(run, tmp_path / "a", "--episodes", "6") == 2  # another result is there


def test_an_agent_with_memory_plays_too(tmp_path):
    options = ["--env", "relic/Catch-v0", "--agent", "r2d2", "--objective", "none", "--total-steps", "400"]
    run = trained(tmp_path / "run", *options)
    assert play(run, tmp_path / "out", "--episodes", "6") == 0
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [float(row["score"]) for row in rows] == own_scores(run)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--style", "nose"], "noise"),
        (["--style", "noise:7"], "1 to 5"),
        (["--episodes", "0"], "--episodes"),
        (["--protocol", "noop"], "--protocol"),
        (["--checkpoint", "no.ckpt"], "no.ckpt"),
        (["--video", "game.avi"], "mp4"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_made(run, tmp_path, capsys, options, says):
    assert play(run, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_no_run(tmp_path, capsys):
    assert play(tmp_path / "nothing", tmp_path / "out") == 2
    assert "no run directory" in capsys.readouterr().err
    assert main(["play"]) == 2
