"""The door to pretraining: a command line in, a run directory and an encoder for an agent out."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from image_files import BROKEN, write_photographs
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from relic_rl import train
from relic_rl.pretrain import main
from relic_rl.pretrain_learner import PretrainLearner
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import NatureEncoder, build_encoder
from relic_rl.representation.target import TargetNetwork
from relic_rl.representation.weights import load_critic_weights, load_encoder_weights
from relic_rl.runtime.checkpoint import load_latest
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.schedules import decay_to_one

MACHINE = ["--device", "cpu", "--precision", "fp32", "--threads", "1"]
TINY = [*MACHINE, "--num-images", "64", "--num-test-images", "40", "--image-size", "36", "--batch-size", "16"]
TINY += ["--epochs", "3", "--warmup-epochs", "1", "--hidden-dim", "16", "--projection-dim", "8", "--log-every", "0.1"]
FILES = [*MACHINE, "--encoder", "nature", "--image-size", "36", "--batch-size", "8", "--epochs", "3"]
FILES += ["--warmup-epochs", "1", "--hidden-dim", "16", "--projection-dim", "8", "--log-every", "0.1", "--workers", "0"]
FILES += ["--optimiser", "lars", "--learning-rate", "0.3", "--batch-norm", "--knn-every", "1"]
UPDATES = 12  # of TINY: 4 an epoch
UNCHANGED = ["crop_area=[1,1]", "crop_ratio=[1,1]", "flip=0", "jitter=0", "grey=0", "blur=0", "solarise=0"]


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def weights(run: Path) -> tuple[bytes, bytes]:
    return (run / "encoder.safetensors").read_bytes(), (run / "critic.safetensors").read_bytes()


def assert_documented(run: Path) -> None:
    glossary = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    columns = (run / "progress.csv").read_text().splitlines()[0].split(",")
    assert [column for column in columns if f"`{column}`" not in glossary] == []


# ------------------------------------------------------------------------------------- what comes out


def test_run_directory_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*TINY, "--run-dir", str(run)]) == 0
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "versions.json", "progress.csv", "checkpoints", "result.json"} <= names
    assert {"encoder.safetensors", "critic.safetensors"} <= names
    rows = list(csv.DictReader((run / "progress.csv").open()))
    assert int(rows[-1]["step"]) == UPDATES
    assert float(rows[-1]["epoch"]) == 3
    assert int(rows[-1]["images"]) == 3 * 64
    assert_documented(run)
    found = result(run)
    assert found["updates"] == UPDATES
    assert found["skipped_updates"] == 0
    assert 0 <= found["knn_accuracy"] <= 1
    assert found["broken_files"] == {}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["view1"][0] == "crop_area=[0.4, 1.0]"  # the preset's
    with safe_open(run / "encoder.safetensors", framework="pt") as file:
        made_by = json.loads(file.metadata()["made_by"])
    assert (made_by["encoder"], made_by["in_channels"], made_by["image_size"]) == ("nature", 3, [36, 36])
    assert made_by["objective_options"]["alpha"] == 1.0
    assert len(made_by["data_fingerprint"]) == 64
    assert made_by["normalisation"] == "pixels / 255"
    assert str(tmp_path) not in json.dumps(made_by)
    learned = load_file(run / "encoder.safetensors")
    assert learned["conv1.bias"].any()
    assert max(learned[name].flatten(1).mean(1).abs().max() for name in learned if name.endswith("weight")) < 1e-7
    load_critic_weights(run / "critic.safetensors", Critic(512, 16, 8))
    assert "run directory" in capsys.readouterr().out


def test_updates_happen_and_the_loss_falls(tmp_path: Path) -> None:
    easy = ["--view1", *UNCHANGED, "shift=2", "--view2", *UNCHANGED, "shift=2"]
    learned = [*TINY, *easy, "--epochs", "20", "--learning-rate", "2e-3", "--target-decay", "0.8", "--knn-every", "0"]
    assert main([*learned, "--run-dir", str(tmp_path / "run")]) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "progress.csv").open()))
    losses = [float(row["loss/contrastive"]) for row in rows]
    assert losses[-1] < 0.6 * losses[0]
    assert float(rows[-1]["contrast/accuracy"]) > 0.5  # chance: 1 / 16
    assert result(tmp_path / "run")["knn_accuracy"] is None


def test_gradients_of_filters_have_mean_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means: list[float] = []
    clip = GradientGuard.clip

    def spy(guard: GradientGuard, parameters: list[Tensor], loss: Tensor) -> Tensor:
        gradients = [p.grad for p in parameters if p.grad is not None and p.ndim == 4]
        means.extend(float(g.flatten(1).mean(1).abs().max() / g.abs().max()) for g in gradients)
        return clip(guard, parameters, loss)

    monkeypatch.setattr(GradientGuard, "clip", spy)
    assert main([*TINY, "--run-dir", str(tmp_path / "run")]) == 0
    assert len(means) == 3 * UPDATES  # of three convolutions
    assert max(means) < 1e-5


@pytest.mark.parametrize("objective", ["infonce", "simclr", "byol", "curl", "amdim"])
def test_objectives_all_run(objective: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*TINY, "--objective", objective, "--run-dir", str(run)]) == 0
    assert_documented(run)
    fresh = build_encoder("nature", in_channels=3, image_size=(36, 36))
    load_encoder_weights(run / "encoder.safetensors", fresh)


def test_options_run(tmp_path: Path) -> None:
    options = ["--encoder", "impala", "--color", "grey", "--stack", "4", "--accumulate", "2", "--target", "online"]
    options += ["--small-views", "count=2", "size=0", "--learnable-temperature", "--max-grad-norm", "1"]
    options += ["--divergence", "js", "--no-channels-last", "--no-probe", "--precision", "bf16"]
    options += ["--view1", "saturation=0", "--learning-rate-scaling", "linear", "--encoder", "impala"]
    assert main([*TINY, *options, "--run-dir", str(tmp_path / "run")]) == 0
    assert_documented(tmp_path / "run")
    encoder = load_file(tmp_path / "run" / "encoder.safetensors")
    assert encoder["stages.0.conv.weight"].shape[1] == 4


def test_same_seed_same_bytes_and_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert main([*TINY, "--seed", str(seed), "--run-dir", str(tmp_path / name)]) == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a")[0] != weights(tmp_path / "c")[0]
    assert main(["--config", str(tmp_path / "a" / "config.yaml"), "--run-dir", str(tmp_path / "d")]) == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "d")


def test_accumulated_parts_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BYOL contrasts nothing: two halves are one whole. So is its very first update."""
    gradients = []
    step = torch.optim.AdamW.step

    def record(self, closure=None):
        gradients.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    options = ["--objective", "byol", "--view1", *UNCHANGED, "--view2", *UNCHANGED, "solarise=1"]
    for name, parts in (("whole", "1"), ("halves", "2")):
        assert main([*TINY, *options, "--accumulate", parts, "--run-dir", str(tmp_path / name)]) == 0
    for whole, halves in zip(gradients[0], gradients[UPDATES], strict=True):
        torch.testing.assert_close(whole, halves, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------------------- image folders


def test_a_folder_with_broken_files_trains_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = write_photographs(tmp_path / "photos")
    run = tmp_path / "run"
    options = ["--encoder", "resnet18", "--image-size", "48", "--small-views", "count=2", "size=32", "--workers", "2"]
    assert main(["--data", str(photographs), *FILES, *options, "--run-dir", str(run)]) == 0
    assert set(result(run)["broken_files"]) == BROKEN
    assert f"{len(BROKEN)} files could not be used" in capsys.readouterr().out
    assert_documented(run)
    with safe_open(run / "encoder.safetensors", framework="pt") as file:
        made_by = json.loads(file.metadata()["made_by"])
    assert (made_by["data"], made_by["normalisation"]) == ("class folders", "imagenet")
    assert result(run)["knn_accuracy"] is not None


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_target_s_decay_follows_its_schedule(schedule: str, tmp_path: Path, monkeypatch) -> None:
    decays, update = [], TargetNetwork.update
    monkeypatch.setattr(
        TargetNetwork, "update", lambda self, *networks: (decays.append(self.decay), update(self, *networks))
    )
    options = ["--target-schedule", schedule, "--target-decay", "0.9", "--run-dir", str(tmp_path / "run")]
    assert main([*TINY, *options]) == 0
    if schedule == "constant":
        assert decays == [0.9] * UPDATES
    else:
        assert decays == pytest.approx([decay_to_one(u, base=0.9, total=UPDATES) for u in range(UPDATES)])


def stop_at(updates: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Have this process signalled after so many updates."""
    update = PretrainLearner.update

    def interrupted(self, batches):
        update(self, batches)
        if self.updates == updates:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(PretrainLearner, "update", interrupted)


def newest_state(run: Path) -> dict:
    loaded = load_latest(run / "checkpoints")
    assert loaded is not None
    return loaded.state | {"seconds": 0}


def assert_equal(one, other) -> None:
    """Equal to the bit, all the way down."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def test_a_run_that_is_killed_continues_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = write_photographs(tmp_path / "photos")
    # The schedules are those of a long run, which is not run to its end.
    arguments = ["--data", str(photographs), *FILES, "--epochs", "5000", "--workers", "1", "--knn-every", "0"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "relic_rl.pretrain", *arguments, "--run-dir", str(killed)]
    command += ["--checkpoint-every", "1"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(p.name > "step-000000000000.ckpt" for p in (killed / "checkpoints").glob("step-*.ckpt")))
    process.kill()
    process.wait()
    assert not (killed / "result.json").exists()
    stop_at(newest_state(killed)["learner"]["updates"] + 6, monkeypatch)
    time.sleep(1)  # its worker ends with it, at once but not at the same moment
    assert main(["--resume", str(killed), "--checkpoint-every", "1000"]) == 143
    assert main([*arguments, "--run-dir", str(whole)]) == 143
    assert_equal(newest_state(killed), newest_state(whole))


def wait_for(condition, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_a_resumed_run_is_the_unbroken_one(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*TINY, "--objective", "amdim", "--run-dir", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        stop_at(7, patch, number)
        assert main([*TINY, "--objective", "amdim", "--run-dir", str(tmp_path / "parts")]) == code
    newest = max((tmp_path / "parts" / "checkpoints").glob("step-*.ckpt"))
    assert newest.name == "step-000000000007.ckpt"
    assert main(["--resume", str(tmp_path / "parts")]) == 0
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert result(tmp_path / "parts")["knn_accuracy"] == result(tmp_path / "whole")["knn_accuracy"]
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "parts" / "progress.csv").open())]
    assert steps == sorted(set(steps))
    assert steps[-1] == UPDATES


def test_a_resumed_encoder_from_before_filters_kept_mean_zero_is_told_what_it_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "which training takes out at its first update"
    with monkeypatch.context() as before:
        before.setattr(NatureEncoder, "centre_weights", lambda self: None)
        before.setattr(NatureEncoder, "centre_gradients", lambda self: None)
        stop_at(7, before)
        assert main([*TINY, "--encoder", "nature", "--run-dir", str(tmp_path)]) == 143
    assert told not in capsys.readouterr().out
    assert main(["--resume", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(told) == 1


def test_other_data_are_no_continuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--run-dir", str(tmp_path / "run")]) == 0
    assert main(["--resume", str(tmp_path / "run"), "--data-seed", "5", "--epochs", "4"]) == 2
    assert "training images" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path / "run"), "--encoder", "impala"]) == 2
    assert "does not fit" in capsys.readouterr().err


# ------------------------------------------------------------------------------------ several processes


@pytest.mark.parametrize("case", ["relic on files", "simclr in memory"])
def test_two_processes_are_one(case: str, tmp_path: Path) -> None:
    if case == "relic on files":
        photographs = write_photographs(tmp_path / "photos")
        # A small rate: the other order of the sums is a difference of rounding, which large steps soon multiply.
        gently = ["0.001" if argument == "0.3" else argument for argument in FILES]
        arguments = ["--data", str(photographs), *gently, "--epochs", "8", "--accumulate", "2", "--batch-size", "16"]
    else:
        # Not AdamW: it divides by the size of each gradient, so where there is next to none it steps on rounding.
        arguments = [*TINY, "--objective", "simclr", "--batch-norm", "--optimiser", "lars"]
        # Three epochs: on one CPU rounding, 1e-7 until then, had grown to 3e-3 after six.
    # One row, over all updates: which ones a row averages depends on the clock.
    arguments = ["1000" if argument == "0.1" else argument for argument in arguments]
    assert main([*arguments, "--run-dir", str(tmp_path / "one")]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "relic_rl.pretrain", *arguments, "--run-dir", str(tmp_path / "two")]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run directory") == 1  # one writer
    one, two = (load_file(tmp_path / name / "encoder.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-3, atol=2e-4)
    curves = [last_row(tmp_path / name) for name in ("one", "two")]
    for key in ("step", "loss/total", "gradient_norm", "probe/loss"):
        assert float(curves[1][key]) == pytest.approx(float(curves[0][key]), rel=2e-3)
    assert result(tmp_path / "two")["processes"] == 2
    assert result(tmp_path / "two")["broken_files"] == result(tmp_path / "one")["broken_files"]


def last_row(run: Path) -> dict[str, str]:
    return list(csv.DictReader((run / "progress.csv").open()))[-1]


# ------------------------------------------------------------------------------- into an agent, and bad input


def test_an_agent_starts_from_it_and_leaves_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--image-size", "84", "--num-images", "32", "--run-dir", str(tmp_path / "pre")]) == 0
    file = str(tmp_path / "pre" / "encoder.safetensors")
    agent = ["--env", "ALE/Pong-v5", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "2"]
    agent += ["--num-steps", "8", "--num-minibatches", "2", "--num-epochs", "1", "--total-steps", "32"]
    agent += ["--eval-episodes", "0", "--no-video", "--aux-batch-size", "4", "--encoder-weights", file]
    capsys.readouterr()
    assert train.main([*agent, "--freeze-encoder", "--run-dir", str(tmp_path / "frozen")]) == 0
    printed = capsys.readouterr().out
    assert "all 8 tensors loaded" in printed
    assert "3 to 4 image channels" in printed
    assert "frozen" in printed
    after = load_file(tmp_path / "frozen" / "encoder.safetensors")
    before = load_file(file)
    for name in set(before) - {"conv1.weight"}:
        assert torch.equal(before[name], after[name])
    mean = before["conv1.weight"].mean(1, keepdim=True).expand(-1, 4, -1, -1) * (3 / 4)
    torch.testing.assert_close(after["conv1.weight"], mean)
    assert yaml.safe_load((tmp_path / "frozen" / "config.yaml").read_text())["objective"] == "none"
    assert not (tmp_path / "frozen" / "critic.safetensors").exists()

    assert train.main([*agent, "--run-dir", str(tmp_path / "tuned")]) == 0
    assert not torch.equal(
        load_file(tmp_path / "tuned" / "encoder.safetensors")["conv2.weight"], before["conv2.weight"]
    )

    capsys.readouterr()
    wrong = [*agent, "--encoder", "impala", "--run-dir", str(tmp_path / "wrong")]
    assert train.main(wrong) == 2
    told = capsys.readouterr().err
    assert "the file holds nature" in told
    assert not (tmp_path / "wrong").exists()
    assert train.main(["--freeze-encoder", "--run-dir", str(tmp_path / "wrong")]) == 2
    assert "--encoder-weights" in capsys.readouterr().err


def test_another_project_s_encoder_is_where_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = build_encoder("resnet18", in_channels=3, image_size=(36, 36)).state_dict()
    checkpoint = tmp_path / "moco.pth.tar"
    torch.save({"epoch": 9, "state_dict": {f"module.encoder_q.{name}": v for name, v in theirs.items()}}, checkpoint)
    options = ["--encoder", "resnet18", "--encoder-weights", str(checkpoint), "--learning-rate", "1e-9"]
    options += ["--num-images", "4", "--batch-size", "4", "--epochs", "1", "--warmup-epochs", "0", "--knn-every", "0"]
    assert main([*TINY, *options, "--run-dir", str(tmp_path / "run")]) == 0
    assert "state_dict.module.encoder_q.layer1 -> layer1 (24)" in capsys.readouterr().out
    after = load_file(tmp_path / "run" / "encoder.safetensors")
    torch.testing.assert_close(after["layer1.0.conv1.weight"], theirs["layer1.0.conv1.weight"], rtol=0, atol=1e-6)


def test_frames_of_games_are_collected_once_and_by_a_trained_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    games = ["--data", "atari", "--games", "Pong,ALE/Breakout-v5"]
    small = [a for a in TINY if a not in ("--image-size", "36")]
    assert main([*games, *small, "--run-dir", str(tmp_path / "a")]) == 0
    assert "collecting 32 train frames" in capsys.readouterr().out
    assert main([*games, *small, "--run-dir", str(tmp_path / "b")]) == 0
    assert "collecting" not in capsys.readouterr().out
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert load_file(tmp_path / "a" / "encoder.safetensors")["conv1.weight"].shape[1] == 4

    agent = ["--env", "ALE/Pong-v5", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--num-envs", "2"]
    agent += ["--num-steps", "8", "--num-minibatches", "2", "--total-steps", "16", "--eval-episodes", "0"]
    assert train.main([*agent, "--objective", "none", "--run-dir", str(tmp_path / "agent")]) == 0
    played = [*games, *small, "--policies", str(tmp_path / "agent")]
    assert main([*played, "--run-dir", str(tmp_path / "c")]) == 0
    assert result(tmp_path / "c")["data_fingerprint"] != result(tmp_path / "a")["data_fingerprint"]
    capsys.readouterr()
    assert main([*games, *small, "--games", "breakout", "--policies", str(tmp_path / "agent")]) == 2
    assert "ALE/Pong-v5" in capsys.readouterr().err


BAD = {
    "no such folder": (["--data", "/nonexistent"], "/nonexistent"),
    "unknown game": (["--data", "atari", "--games", "Pongg"], "ALE/Pong-v5"),
    "game twice": (["--data", "atari", "--games", "pong,Pong"], "once"),
    "unknown objective": (["--objective", "relik"], "relic"),
    "no effect": (["--objective", "simclr", "--alpha", "1"], "--alpha"),
    "games of no atari": (["--games", "pong"], "--games"),
    "batch larger than data": (["--num-images", "16", "--batch-size", "32"], "--batch-size"),
    "odd parts": (["--batch-size", "9", "--accumulate", "2"], "--accumulate"),
    "all warm-up": (["--warmup-epochs", "3"], "--warmup-epochs"),
    "unknown view option": (["--view1", "blurr=1"], "blur"),
    "view out of range": (["--view2", "blur=2"], "view2"),
    "small views of another size": (["--small-views", "count=2", "size=20"], "size to 0"),
    "colour frames": (["--data", "atari", "--color", "rgb"], "--color"),
    "colour steps on frames": (["--data", "atari", "--games", "pong", "--view1", "shift=4"], "colour"),
    "fp16 on a CPU": (["--precision", "fp16"], "fp16"),
    "image too small": (["--image-size", "20"], "36x36"),
    "missing weights": (["--encoder-weights", "/nonexistent.safetensors"], "/nonexistent.safetensors"),
    "policy of nothing": (["--data", "atari", "--policies", "/nonexistent"], "/nonexistent"),
    "unknown preset": (["--config", "imagenet"], "imagenet-resnet50"),
    "unknown divergence": (["--divergence", "kll"], "kl"),
    "negative": (["--learning-rate", "-1"], "--learning-rate"),
    "resume from nothing": (["--resume", "/nonexistent"], "/nonexistent"),
}


@pytest.mark.parametrize(("arguments", "word"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [] if "atari" in arguments else ["--num-test-images", "4", "--num-images", "64", "--image-size", "36"]
    small = [] if "/nonexistent" in arguments or "--config" in arguments else small
    budget = ["--epochs", "3", "--warmup-epochs", "1", "--batch-size", "16"]
    assert main([*MACHINE, *budget, *small, *arguments, "--run-dir", "made"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert len(error.encode()) < 400
    assert word in error
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
