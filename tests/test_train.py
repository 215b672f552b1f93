"""The door: a command line in, a run directory out."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from relic_rl import training
from relic_rl.representation.encoders import NatureEncoder
from relic_rl.train import main

CATCH = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1"]
TINY = [*CATCH, "--num-envs", "4", "--num-steps", "16", "--num-minibatches", "2", "--num-epochs", "1"]
TINY += ["--total-steps", "256", "--eval-episodes", "2", "--aux-batch-size", "8", "--no-video"]
CONSTANT = ["--no-anneal", "--no-anneal-entropy", "--no-anneal-epochs", "--warmup", "0"]  # whatever the total
LEARN = [*CATCH, "--num-envs", "16", "--num-steps", "32", "--num-minibatches", "4", "--num-epochs", "4"]
LEARN += ["--anneal-epochs", "--total-steps", "32000", "--eval-episodes", "50", "--no-video"]


def without_aux(arguments: list[str]) -> list[str]:
    i = arguments.index("--aux-batch-size")
    return [*arguments[:i], *arguments[i + 2 :]]


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("objective", ["none", "relic"])
def test_a_toy_task_is_learned(objective: str, tmp_path: Path) -> None:
    assert main([*LEARN, "--objective", objective, "--run-dir", str(tmp_path / "run")]) == 0
    found = result(tmp_path / "run")
    assert found["evaluation"]["mean_return"] >= 0.8  # random play: about -0.6; perfect play: 1
    assert found["evaluation"]["num_games"] == 50
    rollouts = 32000 // (16 * 32)
    assert rollouts * 4 < found["updates"] < rollouts * 16  # of 4 minibatches; epochs: 4 at first, 1 at last


RECALL = ["--env", "relic/Recall-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--no-video"]
R2D2 = ["--agent", "r2d2", "--lstm-size", "64", "--sequence-length", "10", "--sequence-overlap", "5", "--burn-in", "5"]
R2D2 += ["--n-step", "3", "--batch-size", "32", "--steps-per-update", "16", "--learning-starts", "500"]
R2D2 += ["--learning-rate", "1e-3", "--adam-epsilon", "1e-5", "--discount", "0.97", "--target-period", "50"]
R2D2 += ["--replay-capacity", "20000", "--num-envs", "16"]


def test_r2d2_solves_a_memory_task(tmp_path: Path) -> None:
    budget = ["--objective", "none", "--total-steps", "5000", "--eval-episodes", "100"]
    assert main([*RECALL, *R2D2, *budget, "--run-dir", str(tmp_path / "run")]) == 0
    found = result(tmp_path / "run")
    assert found["evaluation"]["mean_return"] >= 0.8
    assert found["evaluation"]["rule"].startswith("epsilon-greedy")
    assert_documented(tmp_path / "run")


def test_a_memoryless_agent_cannot(tmp_path: Path) -> None:
    budget = ["--objective", "none", "--total-steps", "10000", "--eval-episodes", "200", "--num-envs", "16"]
    sizes = ["--num-steps", "32", "--num-minibatches", "4", "--num-epochs", "4"]
    assert main([*RECALL, *sizes, *budget, "--run-dir", str(tmp_path / "run")]) == 0
    # Chance is 0 and 200 games scatter by 0.07: the bound is four standard errors away.
    assert result(tmp_path / "run")["evaluation"]["mean_return"] <= 0.3


@pytest.mark.parametrize("extra", [["--aux-spacing", "5"], ["--overlap", "on", "--aux-frames", "replay"]])
def test_r2d2_with_relic_same_seed_same_bytes_and_exact_resume(extra: list[str], tmp_path: Path) -> None:
    options = [*RECALL, *R2D2, "--aux-batch-size", "16", "--eval-episodes", "2", "--replay-on-disk"]
    options += ["--aux-negatives", "other-episodes", *extra]
    weights = []
    for name in ("a", "b"):
        run = tmp_path / name
        assert main([*options, "--total-steps", "1600", "--run-dir", str(run)]) == 0
        weights.append([(run / file).read_bytes() for file in ("encoder.safetensors", "critic.safetensors")])
    assert weights[0] == weights[1]
    part = tmp_path / "part"
    assert main([*options, "--total-steps", "1200", "--run-dir", str(part)]) == 0
    assert 0 < result(part)["updates"] < result(tmp_path / "a")["updates"]
    assert main(["--resume", str(part), "--total-steps", "1600"]) == 0
    assert [(part / file).read_bytes() for file in ("encoder.safetensors", "critic.safetensors")] == weights[0]


def test_a_lost_replay_is_filled_again(tmp_path: Path) -> None:
    """A replay in memory ends with its process: games start anew and updates wait until it has filled."""
    options = [*RECALL, *R2D2, "--objective", "none", "--eval-episodes", "0", "--run-dir", str(tmp_path / "run")]
    assert main([*options, "--total-steps", "1000"]) == 0
    before = result(tmp_path / "run")["updates"]
    assert main(["--resume", str(tmp_path / "run"), "--total-steps", "1400"]) == 0
    assert result(tmp_path / "run")["updates"] == before
    assert main(["--resume", str(tmp_path / "run"), "--total-steps", "2200"]) == 0
    assert result(tmp_path / "run")["updates"] > before


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_ppo_draws_its_auxiliary_frames_from_a_replay(overlap: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [
        *TINY,
        "--overlap",
        overlap,
        *CONSTANT,
        "--aux-frames",
        "replay",
        "--replay-capacity",
        "500",
        "--replay-on-disk",
    ]
    assert main([*options, "--total-steps", "1536", "--run-dir", str(whole)]) == 0
    assert main([*options, "--total-steps", "768", "--run-dir", str(parts)]) == 0
    assert main(["--resume", str(parts), "--total-steps", "1536"]) == 0
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert result(whole)["updates"] > 0


def test_a_replay_that_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = [*RECALL, *R2D2, "--objective", "none", "--replay-capacity", "10000000000"]
    assert main([*huge, "--run-dir", str(tmp_path / "run")]) == 2
    assert "GiB" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_same_seed_same_bytes_and_other_seed_other_bytes(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> tuple[bytes, bytes]:
        run = tmp_path / name
        steps = ["--total-steps", "4000", "--eval-episodes", "1", "--seed", str(seed)]
        assert main([*TINY, *steps, "--run-dir", str(run)]) == 0
        return (run / "encoder.safetensors").read_bytes(), (run / "critic.safetensors").read_bytes()

    first = weights("a", 0)
    assert weights("b", 0) == first
    other = weights("c", 1)
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_run_directory_is_complete(tmp_path: Path) -> None:
    run = tmp_path / "run"
    video = [a for a in TINY if a != "--no-video"]
    assert main([*video, "--run-dir", str(run)]) == 0
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "versions.json", "progress.csv", "checkpoints", "result.json"} <= names
    assert {"encoder.safetensors", "critic.safetensors"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names | {p.name for p in run.rglob("events*")})
    assert any(path.suffix in (".mp4", ".gif") and path.stat().st_size > 0 for path in run.iterdir())
    rows = list(csv.DictReader((run / "progress.csv").open()))
    needed = {"step", "frames", "seconds", "steps_per_second", "mean_return", "num_games", "updates"}
    assert needed <= set(rows[0])
    assert int(rows[-1]["step"]) >= 256
    assert math.isfinite(float(rows[-1]["aux/invariance"]))
    assert_documented(run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["precision"] == "fp32"
    assert config["num_envs"] == 4


def assert_documented(run: Path) -> None:
    glossary = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    columns = (run / "progress.csv").read_text().splitlines()[0].split(",")
    assert [column for column in columns if f"`{column}`" not in glossary] == []


@pytest.mark.parametrize("agent", ["ppo", "r2d2"])
def test_profile_says_where_the_time_goes(agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = TINY if agent == "ppo" else [*RECALL, *R2D2, "--aux-batch-size", "16"]
    run = ["--total-steps", "1200", "--eval-episodes", "0", "--profile", "--run-dir", str(tmp_path / "run")]
    assert main([*options, *run]) == 0
    table = (tmp_path / "run" / "profile" / "profile.md").read_text()
    assert table.splitlines()[0] in capsys.readouterr().out
    for name in ("environment", "acting / encoder", "update / encoder", "backward", "optimiser", "auxiliary loss"):
        assert name in table
    assert (tmp_path / "run" / "profile" / "trace.json.gz").stat().st_size > 1_000


def test_the_final_games_have_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    describe = training.describe
    monkeypatch.setattr(training, "describe", lambda games: used.append(torch.get_num_threads()) or describe(games))
    assert main([*TINY, "--threads", "3", "--overlap", "on", "--run-dir", str(tmp_path / "run")]) == 0
    assert used == [3]
    assert ", 3 threads" in (tmp_path / "run" / "versions.json").read_text()


def test_objectives_all_run(tmp_path: Path) -> None:
    for objective in ("augment", "infonce", "simclr", "byol", "curl", "amdim"):
        arguments = without_aux(TINY) if objective == "augment" else TINY
        assert main([*arguments, "--objective", objective, "--run-dir", str(tmp_path / objective)]) == 0
        assert_documented(tmp_path / objective)


def test_options_of_the_head_and_impala_run(tmp_path: Path) -> None:
    options = ["--encoder", "impala", "--target", "online", "--divergence", "js", "--aux-frames", "rollout"]
    options += ["--aux-negatives", "other-episodes", "--learnable-temperature", "--critic-layers", "1"]
    assert main([*TINY, *options, "--run-dir", str(tmp_path / "run")]) == 0


def test_a_run_s_config_can_be_fed_back(tmp_path: Path) -> None:
    assert main([*TINY, "--run-dir", str(tmp_path / "a")]) == 0
    again = ["--config", str(tmp_path / "a" / "config.yaml"), "--run-dir", str(tmp_path / "b")]
    assert main(again) == 0
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_encoder_weights_start_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--run-dir", str(tmp_path / "a")]) == 0
    weights = str(tmp_path / "a" / "encoder.safetensors")
    assert main([*TINY, "--encoder-weights", weights, "--run-dir", str(tmp_path / "b")]) == 0
    assert "conv1.weight" in capsys.readouterr().out
    wrong = [*TINY, "--encoder", "impala", "--encoder-weights", weights, "--run-dir", str(tmp_path / "c")]
    assert main(wrong) == 2
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_resume_on_a_restorable_environment_is_exact(overlap: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    long = [*TINY, "--total-steps", "2048", *CONSTANT, "--overlap", overlap]
    assert main([*long, "--run-dir", str(whole)]) == 0
    assert main([*long, "--total-steps", "1024", "--run-dir", str(parts)]) == 0
    assert main(["--resume", str(parts), "--total-steps", "2048"]) == 0
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    steps = [int(row["step"]) for row in csv.DictReader((parts / "progress.csv").open())]
    assert steps == sorted(set(steps))
    assert result(parts)["agent_steps"] == result(whole)["agent_steps"]


def test_a_run_from_before_filters_kept_mean_zero_is_told_what_it_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "which training takes out at its first update"
    with monkeypatch.context() as before:
        before.setattr(NatureEncoder, "centre_weights", lambda self: None)
        before.setattr(NatureEncoder, "centre_gradients", lambda self: None)
        assert main([*TINY, "--total-steps", "128", "--run-dir", str(tmp_path)]) == 0
    assert told not in capsys.readouterr().out
    from_it = [*TINY, "--total-steps", "64", "--encoder-weights", str(tmp_path / "encoder.safetensors")]
    for name, more, expected in (("a", [], 1), ("b", ["--freeze-encoder"], 0)):
        assert main([*from_it, *more, "--run-dir", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.count(told) == expected
    for steps, expected in (("256", 1), ("384", 0)):
        assert main(["--resume", str(tmp_path), "--total-steps", steps]) == 0
        assert capsys.readouterr().out.count(told) == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_exits(number: int, code: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "relic_rl.train",
        *TINY,
        "--total-steps",
        "10000000",
        "--run-dir",
        str(run),
    ]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    wait_for(lambda: (run / "progress.csv").exists() and len((run / "progress.csv").read_text().splitlines()) > 1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in errors
    newest = max((run / "checkpoints").glob("step-*.ckpt"))
    assert int(newest.stem.split("-")[1]) > 0
    assert main(["--resume", "auto", "--run-dir", str(run), "--total-steps", "1"]) == 0  # nothing left to do


def wait_for(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


BAD = {
    "unknown game": (["--env", "ALE/Pongg-v5"], "ALE/Pong-v5"),
    "old id": (["--env", "PongNoFrameskip-v4"], "ALE/Pong-v5"),
    "unknown toy": (["--env", "relic/Cach-v0"], "relic/Catch-v0"),
    "no image": (["--env", "CartPole-v1"], "image"),
    "continuous actions": (["--env", "CarRacing-v3"], ""),
    "unknown environment": (["--env", "NoSuchThing-v0"], ""),
    "negative": (["--num-envs", "-1"], "--num-envs"),
    "zero steps": (["--total-steps", "0"], "--total-steps"),
    "nan": (["--learning-rate", "nan"], "--learning-rate"),
    "infinite": (["--alpha", "inf"], "--alpha"),
    "unknown objective": (["--objective", "relik"], "relic"),
    "unknown option": (["--alhpa", "1"], "--alpha"),
    "no effect": (["--objective", "infonce", "--alpha", "2"], "--alpha"),
    "hidden units of no hidden layer": (["--critic-layers", "1", "--hidden-dim", "64"], "--hidden-dim"),
    "replay without a use": (["--replay-capacity", "5000"], "--aux-frames replay"),
    "the rollout of an agent without one": (["--agent", "r2d2", "--aux-frames", "rollout"], "--aux-frames"),
    "frames further apart than a sequence": (["--agent", "r2d2", "--aux-spacing", "41"], "--aux-spacing"),
    "more frames than an update has": (["--agent", "r2d2", "--aux-spacing", "40"], "--aux-batch-size"),
    "unknown divergence": (["--divergence", "kll"], "kl"),
    "unknown augmentation": (["--augmentation", "shfit"], "shift"),
    "unknown preset": (["--config", "ppo-smal"], "ppo-small"),
    "missing weights": (["--encoder-weights", "/nonexistent.safetensors"], "/nonexistent.safetensors"),
    "no such device": (["--device", "tpu"], "--device"),
    "resume from nothing": (["--resume", "/nonexistent"], "/nonexistent"),
    "batches of one": (
        ["--num-envs", "1", "--num-steps", "2", "--num-minibatches", "2"],
        "--num-minibatches",
    ),
}


@pytest.mark.parametrize(("arguments", "word"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--run-dir", "made"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert len(error.encode()) < 400
    assert word in error
    assert list(tmp_path.iterdir()) == []


def test_unknown_key_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learning_rat: 0.1\n")
    assert main(["--config", str(path)]) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_unwritable_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([*TINY, "--run-dir", str(tmp_path / "file" / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*TINY, "--run-dir", str(run)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*TINY, "--run-dir", str(run)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
