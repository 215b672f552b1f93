"""``evaluate play`` at the door: what it plays, writes and refuses."""

import csv
import json
import math
import statistics
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from envs.make import make_vector_env
from envs.style_shares import mean_shares, share_kept
from envs.toy import Counting
from relic_rl.evaluate import main
from relic_rl.evaluate_kinds import play as door
from relic_rl.evaluate_kinds.play import MOST_ENVS
from relic_rl.evaluation.style_shift import SCORE_COLUMNS, parse_styles
from relic_rl.runtime.video import has_ffmpeg
from relic_rl.train import main as train
from relic_rl.training import VIDEO_FPS, VIDEO_SCALE

RUN = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "4", "--eval-episodes", "6"]
SHORT = ["--total-steps", "512", "--num-steps", "32", "--objective", "none"]


def trained(folder: Path, *options: str) -> Path:
    assert train([*RUN, *options, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("play") / "run", "--env", "relic/StyleShift-v0", *SHORT)


def own_scores(run: Path) -> list[float]:
    """Of the final evaluation that training ended with."""
    return json.loads((run / "result.json").read_text())["evaluation"]["returns"]


def play(run: Path, out: Path, *options: str) -> int:
    return main(["play", "--run", str(run), "--out", str(out), "--device", "cpu", "--threads", "1", *options])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def styled(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("styled") / "a"
    assert play(run, out, "--episodes", "6", "--style", "noise:2", "inversion:4,inversion:5", "unseen") == 0
    return out


def test_scores_of_every_game(run, styled):
    table = rows(styled)
    assert tuple(table[0]) == SCORE_COLUMNS
    styles = [("none", "0"), ("noise", "2"), ("inversion", "4"), ("inversion", "5"), ("unseen", "0")]
    assert [(row["style"], row["severity"]) for row in table] == [style for style in styles for _ in range(6)]
    assert [row["episode"] for row in table] == [str(i) for i in range(6)] * 5
    assert {row["length"] for row in table} == {"40"}
    # The games of the run's own final evaluation, in its order.
    assert [float(row["score"]) for row in table[:6]] == own_scores(run)
    result = json.loads((run / "result.json").read_text())
    shared = {"game": "relic/StyleShift-v0", "seed": "0", "steps": str(result["agent_steps"]), "protocol": ""}
    shared |= {"frames": shared["steps"], "objective": "none", "agent": "ppo", "impossible": "0"}
    assert all(row.items() >= shared.items() for row in table)


def test_what_is_told_follows_from_the_scores(styled):
    scores = {}
    for row in rows(styled):
        scores.setdefault((row["style"], row["severity"]), []).append(float(row["score"]))
    result = json.loads((styled / "result.json").read_text())
    plain = scores.pop(("none", "0"))
    metrics = result["metrics"]
    assert metrics["mean_return"] == pytest.approx(statistics.mean(plain))
    assert metrics["median_return"] == pytest.approx(statistics.median(plain))
    assert result["details"]["scores"]["none"]["std_return"] == pytest.approx(statistics.stdev(plain))
    assert metrics["mean_return/unseen"] == pytest.approx(statistics.mean(scores["unseen", "0"]))
    styles = parse_styles(["noise:2", "inversion:4", "inversion:5", "unseen"], has_unseen=True)
    shares = {
        style: share_kept(statistics.mean(scores[style.name, str(style.severity)]), statistics.mean(plain), 0.0)
        for style in styles
    }
    assert {str(s): told["value"] for s, told in zip(styles, result["details"]["shares"].values(), strict=True)} == {
        str(s): pytest.approx(share) for s, share in shares.items()
    }
    expected = {f"share_kept/{name}": share for name, share in mean_shares(shares).items()}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert result["details"]["random_score"] == 0
    text = (styled / "table.md").read_text()
    for words in ("mean return", "median return", "std return", "inversion:5", "inversion, mean", "all, mean"):
        assert words in text
    assert {"scores.png", "shares.png", "styles.png"} <= {path.name for path in styled.iterdir()}


def test_the_same_command_gives_the_same_files(run, styled, tmp_path):
    assert play(run, tmp_path / "b", "--episodes", "6", "--style", "noise:2", "inversion:4,inversion:5", "unseen") == 0
    for name in ("scores.csv", "table.md", "styles.png"):
        assert (styled / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert play(run, tmp_path / "c", "--episodes", "6", "--seed", "5") == 0
    assert [row["score"] for row in rows(tmp_path / "c")] != [row["score"] for row in rows(styled)[:6]]


def test_nothing_is_overwritten(run, styled, capsys):
    before = (styled / "scores.csv").read_bytes()
    assert play(run, styled, "--episodes", "6") == 2
    assert "--out" in capsys.readouterr().err
    assert (styled / "scores.csv").read_bytes() == before


def test_unseen_styles_are_the_environment_s_own(run, tmp_path, monkeypatch):
    played = []
    make = door.make_vector_env

    def noted(env_id, *args, **options):
        played.append(env_id)
        return make(env_id, *args, **options)

    monkeypatch.setattr(door, "make_vector_env", noted)
    assert play(run, tmp_path / "out", "--episodes", "1", "--style", "unseen", "noise:1") == 0
    assert played == ["relic/StyleShift-v0", "relic/StyleShiftTest-v0", "relic/StyleShift-v0"]


def test_reports_go_into_the_run_and_more_games_than_environments_are_played(run):
    before = set(run.iterdir())
    for number in (1, 2):
        assert main(["play", "--run", str(run), "--episodes", str(MOST_ENVS + 3), "--threads", "1"]) == 0
        assert len(rows(run / f"play-{number}")) == MOST_ENVS + 3
    assert set(run.iterdir()) - before == {run / "play-1", run / "play-2"}
    names = {path.name for path in (run / "play-1").iterdir()}
    assert names == {"result.json", "table.md", "scores.csv", "scores.png"}


def test_an_agent_with_memory_plays_too(tmp_path):
    options = ["--env", "relic/Catch-v0", "--agent", "r2d2", "--objective", "none", "--total-steps", "400"]
    run = trained(tmp_path / "run", *options)
    assert play(run, tmp_path / "out", "--episodes", "6", "--style", "blur:1") == 0
    table = rows(tmp_path / "out")
    assert [float(row["score"]) for row in table[:6]] == own_scores(run)
    assert table[0]["agent"] == "r2d2"
    details = json.loads((tmp_path / "out" / "result.json").read_text())["details"]
    assert details["random_score"] == -0.8


def test_an_agent_of_either_protocol_plays_atari_under_both(tmp_path):
    """Raw scores, human-normalised; frames are four times the steps."""
    run = trained(tmp_path / "run", "--env", "ALE/Pong-v5", *SHORT, "--total-steps", "128", "--eval-episodes", "0")

    class Short(Counting):
        frame_skip = 4

    def short_games(env_id, num_envs, *, protocol, **_):
        played.append((env_id, protocol, num_envs))
        env = Short(range(num_envs))
        env.observation_shape = (4, 84, 84)
        image = env._image
        env._image = lambda: np.resize(image(), (num_envs, 4, 84, 84))
        env.num_actions = 6
        env.frame_skip = 4
        return env

    played: list[tuple[str, str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "make_vector_env", short_games)
        assert play(run, tmp_path / "v5", "--episodes", "2", "--style", "gamma:1") == 0
        assert play(run, tmp_path / "noop", "--episodes", "2", "--protocol", "noop") == 0
    assert played == [("ALE/Pong-v5", "v5", 2)] * 2 + [("ALE/Pong-v5", "noop", 2)]
    v5, noop = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("v5", "noop"))
    assert [r["details"]["protocol"] for r in (v5, noop)] == ["v5", "noop"]
    assert v5["data"]["fingerprint"] != noop["data"]["fingerprint"]
    score = v5["metrics"]["mean_return"]
    assert v5["metrics"]["human_normalized"] == pytest.approx((score + 20.7) / 35.3, abs=1e-3)
    row = rows(tmp_path / "v5")[0]
    assert int(row["frames"]) == 4 * int(row["steps"])
    assert row["protocol"] == "v5"
    scores = [float(row["score"]) for row in rows(tmp_path / "v5")]
    assert [int(row["impossible"]) for row in rows(tmp_path / "v5")] == [score > 21 for score in scores]
    flagged = sum(score > 21 for score in scores[:2])
    assert ("FLAGGED (none)" in (tmp_path / "v5" / "table.md").read_text()) == bool(flagged)


def decoded(path: Path) -> np.ndarray:
    """A video's frames, uint8 [T, H, W, 3], and its rate checked."""
    frames = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
    about = next(frames)
    assert about["fps"] == VIDEO_FPS
    width, height = about["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames])


@pytest.mark.skipif(not has_ffmpeg(), reason="needs ffmpeg")
def test_a_video_shows_the_first_game_in_the_first_style(run, tmp_path, capsys):
    for name, style in (("plain", []), ("inverted", ["--style", "inversion:5", "unseen"])):
        assert play(run, tmp_path / name, "--episodes", "2", *style, "--video", str(tmp_path / f"{name}.mp4")) == 0
        assert f"video: {tmp_path / f'{name}.mp4'}" in capsys.readouterr().out
    plain, inverted = (decoded(tmp_path / f"{name}.mp4").astype(int) for name in ("plain", "inverted"))
    assert plain.shape == inverted.shape == (41, 40 * VIDEO_SCALE, 40 * VIDEO_SCALE, 3)
    first = make_vector_env("relic/StyleShift-v0", 2, seed=door.Streams(0).seed_sequence("eval_env")).reset()
    picture = first.observation[0, 0].repeat(VIDEO_SCALE, axis=0).repeat(VIDEO_SCALE, axis=1)
    assert abs(plain[0].mean(axis=-1) - picture).mean() < 4  # the codec's loss
    assert abs(inverted[0].mean(axis=-1) - (255 - picture)).mean() < 4


@pytest.mark.skipif(not has_ffmpeg(), reason="needs ffmpeg")
def test_environments_in_colour_are_shown_in_colour(tmp_path):
    run = trained(tmp_path / "run", "--env", "rgb_envs:Bars-v0", *SHORT, "--total-steps", "128")
    video = tmp_path / "game.mp4"
    assert play(run, tmp_path / "out", "--episodes", "2", "--style", "contrast:1", "--video", str(video)) == 0
    frames = decoded(video)
    assert frames.shape == (7, 36 * VIDEO_SCALE, 40 * VIDEO_SCALE, 3)
    levels = 127.5 + 0.8 * (np.arange(7)[:, None] * np.array([10, 20, 30]) - 127.5)
    assert frames.mean(axis=(1, 2)) == pytest.approx(levels, abs=6)
    assert (tmp_path / "out" / "styles.png").is_file()


@pytest.mark.skipif(not has_ffmpeg(), reason="needs ffmpeg")
def test_the_report_is_there_if_the_video_cannot_be_written(run, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "game.mp4")

    monkeypatch.setattr(door, "write_video", full)
    assert play(run, tmp_path / "out", "--episodes", "2", "--video", str(tmp_path / "game.mp4")) == 1
    assert capsys.readouterr().err == "error: game.mp4: No space left on device\n"
    assert len(rows(tmp_path / "out")) == 2


def test_the_game_is_shown_in_a_terminal(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("relic_rl.runtime.terminal.time.sleep", lambda seconds: None)
    assert play(run, tmp_path / "out", "--episodes", "2", "--render", "--style", "border:5") == 0
    shown = capsys.readouterr().out.split("\x1b[H")[1:]
    assert len(shown) == 40  # what the agent acts on, from the first frame on; the last one it does not act on
    assert shown[0].startswith("\x1b[38;2;128;128;128m")  # the border: in the style, not the plain game


def test_a_share_where_there_is_none_is_told(run, tmp_path):
    """An agent no better than random play has nothing to keep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relic_rl.evaluate_kinds.play_writing.random_score", lambda env_id: math.inf)
        assert play(run, tmp_path / "out", "--episodes", "2", "--style", "blur:1") == 0
    metrics = json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]
    assert metrics["share_kept/blur"] is None
    assert "n/a" in (tmp_path / "out" / "table.md").read_text()
