"""`state` from command line to report."""

import json

import numpy as np
import pytest

from relic_rl.evaluate import main
from relic_rl.evaluate_kinds.state import _fresh, _majority, _metrics
from relic_rl.evaluation.state import summarize_variables
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit

MACHINE = ["--device", "cpu", "--threads", "1"]
UNTRAINED = ["--encoder", "untrained", "--architecture", "nature"]
FEW = ["--iterations", "10", "--penalties", "0.01"]


def game_frames(count: int, seed: int) -> LabelledImages:
    """Frames as they are collected: of Boxing, with a bar where the player is, and of Bowling, always the same ones."""
    rng = np.random.default_rng(seed)
    boxing = np.arange(2 * count) % 2 == 0
    place = rng.integers(0, 4, 2 * count)
    images = rng.integers(0, 30, (2 * count, 4, 84, 84), dtype=np.uint8)
    images[~boxing] = 7
    for image, at, in_boxing in zip(images, place, boxing, strict=True):
        if in_boxing:
            image[:, :, 20 * at : 20 * at + 20] += 200
    labels = {
        "game": np.where(boxing, 0, 1),
        "boxing.player_x": np.where(boxing, 40 + place, -1),
        "boxing.enemy_x": np.where(boxing, rng.integers(0, 5, 2 * count), -1),
        "boxing.clock": np.where(boxing, 9, -1),
        "boxing.enemy_score": np.where(boxing, rng.integers(0, 2 if seed == 0 else 1, 2 * count), -1),
        "bowling.ball_x": np.where(boxing, -1, rng.integers(0, 5, 2 * count)),
    }
    classes = {name: 256 for name in labels} | {"game": 2}
    episodes = np.arange(2 * count, dtype=np.int64) // 8
    return LabelledImages(images, {n: v.astype(np.int64) for n, v in labels.items()}, "game", classes, episodes)


def test_games_variables_categories(tmp_path, capsys, monkeypatch):
    asked = []

    def splits(config, *_):
        asked.append(config.games)
        return game_frames(40, 0), game_frames(30, 1)

    monkeypatch.setattr("relic_rl.pretrain_frames.atari_splits", splits)
    arguments = ["state", *UNTRAINED, *MACHINE, *FEW, "--games", "amidar", "Boxing", "Bowling"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert asked == [("boxing", "bowling")]  # no frame is collected in vain
    assert "nobody has annotated their memory: amidar" in out
    assert "bowling: left out" in out  # all test frames are training frames
    found = json.loads((tmp_path / "a" / "result.json").read_text())
    metrics, games = found["metrics"], found["details"]["games"]
    assert set(games) == {"boxing"}
    assert found["details"]["games_left_out"] == {
        "amidar": "nobody has annotated its memory",
        "bowling": "40 training and 0 test frames, 30 left out as seen",
    }
    boxing = games["boxing"]
    assert (boxing["training_frames"], boxing["test_frames"], boxing["test_frames_seen_in_training"]) == (40, 30, 0)
    assert boxing["training_episodes"] == 10
    assert set(boxing["left_out"]) == {"clock", "enemy_score"}  # the score varies in training only
    assert boxing["left_out"]["clock"] == {"training_entropy": 0, "test_entropy": 0}
    assert boxing["left_out"]["enemy_score"]["training_entropy"] > 0.6
    assert boxing["left_out"]["enemy_score"]["test_entropy"] == 0
    assert "boxing: left out, since they vary too little: clock, enemy_score" in out
    f1 = {name: value["f1"] for name, value in boxing["variables"].items()}
    assert set(f1) == {"player_x", "enemy_x"}
    assert f1["player_x"] > 0.95
    assert f1["enemy_x"] < 0.6
    assert boxing["variables"]["player_x"]["majority_f1"] < 0.3
    assert metrics["boxing/f1"] == metrics["f1"] == pytest.approx(np.mean([*f1.values()]))
    assert metrics["agent_localization/f1"] == f1["player_x"]
    header, _, row, mean = (tmp_path / "a" / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[2:5]] for line in (header, row)]
    assert cells == [["training frames", "test frames", "variables"], ["40", "30", "2"]]
    assert "mean over games" in mean
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b" / "result.json").read_text())["metrics"] == metrics


def test_results_on_other_frames_are_not_joined(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "relic_rl.pretrain_frames.atari_splits",
        lambda config, *_: (game_frames(config.num_images // 2, 0), game_frames(config.num_test_images // 2, 1)),
    )
    arguments = ["state", *UNTRAINED, *MACHINE, *FEW, "--games", "Boxing", "Bowling", "--num-images", "80"]
    for name, count in (("a", "40"), ("b", "60"), ("c", "60")):
        extra = ["--num-test-images", count, "--out", str(tmp_path / name), "--seed", "0" if name == "b" else "1"]
        assert main([*arguments, *extra, "--name", name]) == 0
    capsys.readouterr()
    assert main(["--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "no")]) == 2
    assert "different num_test_images" in capsys.readouterr().err
    assert main(["--compare", str(tmp_path / "b"), str(tmp_path / "c"), "--out", str(tmp_path / "yes")]) == 0


def test_test_frames_that_training_saw_are_left_out():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)

    def split(rows: list[int]) -> MemorySplit:
        labels = {"game": np.zeros(len(rows), dtype=np.int64)}
        return MemorySplit(LabelledImages(pixels[rows], labels, "game", {"game": 1}))

    assert _fresh(split([3, 0, 1]), split([1, 2, 4])).tolist() == [True, True, False]


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
