"""Several processes under torchrun: one experiment, one writer; bad input is refused, a death ends the run."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint
from relic_rl.runtime.distributed import Processes
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.seeding import Streams
from relic_rl.train import main
from relic_rl.train_build import build_env, build_networks
from relic_rl.train_options import TrainConfig
from relic_rl.train_processes import continued_by_others, parts_of, share_out

CATCH = ["--env", "relic/Catch-v0", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--no-video"]
PPO = [*CATCH, "--num-envs", "8", "--num-steps", "16", "--num-minibatches", "1", "--num-epochs", "2"]
R2D2 = [*CATCH, "--agent", "r2d2", "--lstm-size", "32", "--sequence-length", "10", "--sequence-overlap", "5"]
R2D2 += ["--burn-in", "5", "--n-step", "3", "--batch-size", "8", "--steps-per-update", "16", "--num-envs", "8"]
R2D2 += ["--learning-starts", "200", "--target-period", "10", "--replay-capacity", "4000", "--aux-batch-size", "8"]


def torchrun(arguments: list[str], *, count: int = 2, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *options]
    command += ["-m", "relic_rl.train", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


# ----------------------------------------------------------------------------------------- one experiment


def test_two_processes_are_one_and_one_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*PPO, "--objective", "none", "--learning-rate", "3e-4", "--total-steps", "500", "--eval-episodes", "3"]
    two, one = tmp_path / "two", tmp_path / "one"
    printed = finish(torchrun([*options, "--run-dir", str(two)]))
    assert printed.count("run directory") == 1  # one writer
    assert printed.count("evaluation") == 1
    assert main([*options, "--run-dir", str(one)]) == 0
    weights = [load_file(run / "encoder.safetensors") for run in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=2e-3, atol=1e-4)
    found, alone = result(two), result(one)
    assert (found["processes"], alone["processes"]) == (2, 1)
    for name in ("agent_steps", "updates", "training_games", "training_mean_return"):
        assert found[name] == alone[name], name

    capsys.readouterr()
    assert main(["--resume", str(two), "--total-steps", "700", "--eval-episodes", "0"]) == 0
    assert "made by 2 processes, continued by 1" in capsys.readouterr().out
    after = load_checkpoint(list_checkpoints(two / "checkpoints")[0])
    assert "ranks" not in after
    assert after["agent"]["updates"] > found["updates"]
    assert after["games"]["num_games"] > found["training_games"]


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "r2d2", "r2d2 overlapping"])
def test_exact_resume(agent: str, tmp_path: Path) -> None:
    if agent == "ppo":
        options = [*PPO, "--num-minibatches", "4", "--aux-batch-size", "8", "--no-anneal", "--no-anneal-entropy"]
        options += ["--no-anneal-epochs", "--warmup", "0"]
    else:
        options = [*R2D2, "--replay-on-disk", "--overlap", "on" if agent.endswith("ing") else "off"]
        options += ["--aux-frames", "replay"]
    options += ["--eval-episodes", "0"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    finish(torchrun([*options, "--total-steps", "1200", "--run-dir", str(whole)]))
    finish(torchrun([*options, "--total-steps", "700", "--run-dir", str(part)]))
    assert 0 < result(part)["updates"] < result(whole)["updates"]
    finish(torchrun(["--resume", str(part), "--total-steps", "1200"]))
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (part / name).read_bytes() == (whole / name).read_bytes()
    # Another number of processes: the shards are not its, and it says so.
    if agent == "r2d2":
        printed = finish(torchrun(["--resume", str(part), "--total-steps", "1300"], count=4))
        assert "so does the replay" in printed
        assert result(part)["updates"] == result(whole)["updates"]  # waits until it has filled


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "r2d2"])
def test_the_toy_is_learned_as_by_one(agent: str, tmp_path: Path) -> None:
    if agent == "ppo":
        options = [*CATCH, "--num-envs", "16", "--num-steps", "32", "--num-minibatches", "4", "--num-epochs", "4"]
        options += ["--total-steps", "32000", "--eval-episodes", "50"]
    else:
        options = [
            *CATCH,
            "--env",
            "relic/Recall-v0",
            "--agent",
            "r2d2",
            "--lstm-size",
            "64",
            "--sequence-length",
            "10",
        ]
        options += ["--sequence-overlap", "5", "--burn-in", "5", "--n-step", "3", "--batch-size", "32"]
        options += ["--steps-per-update", "16", "--learning-starts", "500", "--learning-rate", "1e-3", "--adam-epsilon"]
        options += ["1e-5", "--discount", "0.97", "--target-period", "50", "--replay-capacity", "20000", "--num-envs"]
        options += ["16", "--objective", "none", "--total-steps", "8000", "--eval-episodes", "100"]
    finish(torchrun([*options, "--run-dir", str(tmp_path / "run")]))
    assert result(tmp_path / "run")["evaluation"]["mean_return"] >= 0.8


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have one loopback address")
def test_two_machines(tmp_path: Path) -> None:
    """Two agents of torchrun, each with an address of its own, one process under each."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    run = tmp_path / "run"
    arguments = [*PPO, "--aux-batch-size", "8", "--total-steps", "1000", "--eval-episodes", "2", "--run-dir", str(run)]
    agents = []
    for address in ("127.0.0.1", "127.0.0.2"):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "two"]
        command += ["--local-addr", address, "-m", "relic_rl.train", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        pipe = subprocess.PIPE
        agents.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    printed = "".join(finish(agent) for agent in agents)
    assert printed.count("run directory") == 1
    assert result(run)["processes"] == 2
    assert result(run)["agent_steps"] >= 1000


# --------------------------------------------------------------------------------------------- bad input


def processes_of(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for name, value in (("RANK", 0), ("WORLD_SIZE", count), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", count)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("count", "arguments", "says"),
    [
        (3, ["--num-envs", "8"], "--num-envs 8 does not split over 3 processes: give a multiple of 3"),
        (3, [*R2D2, "--batch-size", "10", "--num-envs", "9"], "--batch-size 10"),
        (4, ["--aux-batch-size", "6"], "--aux-batch-size 6"),
        (16, ["--aux-batch-size", "16"], "two frames"),
        (3, [*R2D2, "--num-envs", "9", "--batch-size", "9", "--aux-batch-size", "9"], "--replay-capacity 4000"),
        (2, ["--overlap", "on"], "in a single process only: give auto or off"),
        (1, ["--contrast-set", "local"], "no effect on one process"),
        (2, ["--device", "cuda:0"], "--device cuda:0"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    count: int,
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    processes_of(monkeypatch, count)
    monkeypatch.chdir(tmp_path)
    assert main(["--env", "relic/Catch-v0", *arguments, "--run-dir", "run"]) == 2
    line = capsys.readouterr().err
    assert says in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_shares() -> None:
    config = TrainConfig(agent="r2d2", num_envs=8, batch_size=4, aux_batch_size=16, replay_capacity=1000)
    part = share_out(config, Processes(1, 4))
    assert (part.num_envs, part.batch_size, part.aux_batch_size, part.replay_capacity) == (2, 1, 4, 250)
    assert (part.steps_per_update, part.learning_starts) == (config.steps_per_update, config.learning_starts)
    assert (
        share_out(dataclasses.replace(config, replay_compressed_gib=1.0), Processes(1, 4)).replay_compressed_gib == 0.25
    )
    assert share_out(config, Processes()) is config
    with pytest.raises(BadInput, match="multiple of 3"):
        share_out(config, Processes(0, 3))


@pytest.mark.parametrize("contrast_set", ["gathered", "local"])
def test_the_contrast_set_is_the_one_asked_for(contrast_set: str) -> None:
    config = TrainConfig(env="relic/Catch-v0", contrast_set=contrast_set)
    streams = Streams(0)
    env = build_env(config, "train_env", 2, streams, 1)
    objective = build_networks(config, env, streams, torch.device("cpu")).objective
    assert objective is not None
    assert objective.gathered == (contrast_set == "gathered")


def test_parts_of_a_checkpoint() -> None:
    alone = {"agent": {"network": 1, "lives": 2}, "env": 3, "step": 4}
    assert parts_of(alone, ["lives"]) == ({"network": 1}, [{"agent": {"lives": 2}, "env": 3, "step": 4}])
    several = {"agent": {"network": 1}, "ranks": [{"agent": {"lives": 2}}, {"agent": {"lives": 5}}]}
    assert parts_of(several, ["lives"]) == ({"network": 1}, several["ranks"])
    assert continued_by_others(several, Processes(0, 2), TrainConfig()) == []
    assert "by 1 process," in continued_by_others(alone, Processes(0, 2), TrainConfig())[0]


# ------------------------------------------------------------------------------------------------ deaths


def rank_of(parent: int, rank: int) -> int:
    """The process id of a rank that torchrun started."""
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in children.read_text().split():
            if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
    raise AssertionError("no such rank")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of processes")
@pytest.mark.parametrize("agent", ["ppo", "r2d2"])
def test_a_rank_that_dies_ends_the_run_with_its_name(agent: str, tmp_path: Path) -> None:
    options = [*(PPO if agent == "ppo" else R2D2), "--aux-batch-size", "8", "--total-steps", "10000000"]
    run = tmp_path / "run"
    process = torchrun([*options, "--checkpoint-every", "1", "--run-dir", str(run)])
    wait_for(lambda: len(list_checkpoints(run / "checkpoints")) >= 2, process)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    struck = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert time.monotonic() - struck < 60  # seconds on a machine that does nothing else
    assert re.search(r"error: rank 1 of 2 died without a word; kept: .*step-\d+\.ckpt; continue with --resume", errors)
    load_checkpoint(list_checkpoints(run / "checkpoints")[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of processes")
def test_torchrun_starts_again_from_the_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*PPO, "--aux-batch-size", "8", "--total-steps", "6000", "--eval-episodes", "0"]
    options += ["--checkpoint-every", "1", "--resume", "auto", "--run-dir", str(run)]
    process = torchrun(options, options=("--max-restarts", "1"))
    wait_for(lambda: len(list_checkpoints(run / "checkpoints")) >= 2, process)
    os.kill(rank_of(process.pid, 0), signal.SIGKILL)  # the writer
    finish(process)
    finish(torchrun([*options[:-1], str(tmp_path / "undisturbed")]))
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


@pytest.mark.slow
def test_a_signal_saves_on_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = torchrun([*PPO, "--aux-batch-size", "8", "--total-steps", "10000000", "--run-dir", str(run)])
    wait_for(lambda: len(list_checkpoints(run / "checkpoints")) >= 1, process)
    time.sleep(3)
    process.terminate()
    process.communicate(timeout=120)
    state = load_checkpoint(list_checkpoints(run / "checkpoints")[0])
    assert state["agent"]["updates"] > 0
    assert len(state["ranks"]) == 2


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
