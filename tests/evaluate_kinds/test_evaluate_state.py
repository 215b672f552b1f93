"""`state` from command line to report."""

import json
from pathlib import Path

import numpy as np
import pytest

from relic_rl.evaluate import main
from relic_rl.evaluate_kinds.state import _fresh, _majority, _metrics
from relic_rl.evaluation.state import summarize_variables
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit

MACHINE = ["--device", "cpu", "--threads", "1"]
UNTRAINED = ["--encoder", "untrained", "--architecture", "nature"]
FEW = ["--num-images", "80", "--num-test-images", "80", "--iterations", "10", "--penalties", "0.01"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_games_variables_categories(tmp_path, capsys):
    arguments = ["state", *UNTRAINED, *MACHINE, *FEW, "--games", "amidar", "Boxing", "Bowling"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert "nobody has annotated their memory: amidar" in out
    found = json.loads((tmp_path / "a" / "result.json").read_text())
    metrics, games = found["metrics"], found["details"]["games"]
    assert "bowling: left out" in out  # it begins alike every time
    assert set(games) == {"boxing"}
    assert games["boxing"]["training_frames"] == 40
    boxing = games["boxing"]["variables"]
    assert {"player_x", "enemy_y"} <= set(boxing)
    assert all(0 <= value["f1"] <= 1 and value["entropy"] >= 0.6 for value in boxing.values())
    assert all(entropy < 0.6 for entropy in games["boxing"]["left_out"].values())
    assert metrics["boxing/f1"] == pytest.approx(np.mean([value["f1"] for value in boxing.values()]))
    assert metrics["f1"] == metrics["boxing/f1"]
    assert games["boxing"]["test_frames"] + games["boxing"]["test_frames_seen_in_training"] == 40
    assert "mean over games" in (tmp_path / "a" / "table.md").read_text()
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b" / "result.json").read_text())["metrics"] == metrics


def test_test_frames_that_training_saw_are_left_out():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)

    def split(rows: list[int]) -> MemorySplit:
        labels = {"game": np.zeros(len(rows), dtype=np.int64)}
        return MemorySplit(LabelledImages(pixels[rows], labels, "game", {"game": 1}))

    assert _fresh(split([3, 0, 1]), split([1, 2, 4])).tolist() == [True, True, False]


REFUSED = {
    "another engine": (["--engine", "ale"], "does not show the games' memory"),
    "other images": (["--data", "content-style", "--num-images", "50"], "states are those of Atari games"),
    "no such game": (["--games", "pongg"], "unknown Atari game"),
    "nobody annotated it": (["--games", "amidar"], "nobody has annotated their memory"),
    "no penalty": (["--penalties", "0"], "--penalties"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    arguments, says = REFUSED[case]
    assert main(["state", *UNTRAINED, *MACHINE, *arguments, "--out", "made"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert len(err) < 400
    assert not (tmp_path / "made").exists()


def test_means_over_games():
    found = {
        "pong": summarize_variables({"ball_x": 0.4, "player_y": 0.8}),
        "boxing": summarize_variables({"player_x": 0.2, "clock": 0.6}),
    }
    metrics = _metrics(found)
    assert metrics["f1"] == pytest.approx(0.5)
    assert metrics["agent_localization/f1"] == pytest.approx(0.5)
    assert metrics["small_object_localization/f1"] == pytest.approx(0.4)
    assert metrics["boxing/f1"] == pytest.approx(0.4)
    assert "misc/f1" not in metrics


def test_knowing_nothing_is_the_majority():
    assert _majority(np.array([3, 3, 1]), np.array([3, 3, 3, 1])) == pytest.approx((6 / 7) / 2)
