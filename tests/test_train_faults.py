"""What becomes of a training run that something happens to."""

import gc
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from agents.ppo_learner import PPOLearner
from agents.r2d2_learner import R2D2Learner
from relic_rl import train_run
from relic_rl.runtime import interrupts
from relic_rl.runtime.checkpoint import list_checkpoints, load_checkpoint
from relic_rl.train import main
from relic_rl.train_run import Run

HERE = Path(__file__).parent
PLAIN = ["--device", "cpu", "--precision", "fp32", "--threads", "1", "--no-video", "--aux-batch-size", "8"]
PPO_SMALL = [*PLAIN, "--num-envs", "4", "--num-steps", "16", "--num-minibatches", "2", "--num-epochs", "1"]
R2D2_SMALL = [*PLAIN, "--agent", "r2d2", "--lstm-size", "16", "--sequence-length", "10", "--sequence-overlap", "5"]
R2D2_SMALL += ["--burn-in", "5", "--n-step", "3", "--batch-size", "8", "--learning-starts", "100", "--num-envs", "4"]
R2D2_SMALL += ["--replay-capacity", "4000", "--steps-per-update", "32", "--target-period", "10", "--replay-on-disk"]
AGENTS = {"ppo": PPO_SMALL, "r2d2": R2D2_SMALL}
CATCH = ["--env", "relic/Catch-v0"]
LONG = ["--total-steps", "100000000"]


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]):
    """The one line on stderr."""

    def read() -> str:
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert len(error.encode()) < 400
        return error

    return read


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[0]


def start(*arguments: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "relic_rl.train", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# ---------------------------------------------------------------------------- the environment


@pytest.mark.parametrize("agent", AGENTS)
def test_an_engine_that_fails_ends_the_run_with_its_state_saved(agent: str, tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    assert main([*AGENTS[agent], *LONG, "--env", "faulty_envs:Raise-v0", "--run-dir", str(run)]) == 1
    line = error_line()
    assert "environment faulty_envs:Raise-v0 failed (RuntimeError: worker 7 died: segmentation fault)" in line
    assert str(newest(run)) in line
    state = load_checkpoint(newest(run))["agent"]
    assert state["steps"] == 4 * 299  # every step before the fault
    assert main(["--resume", str(run), "--total-steps", str(state["steps"] + 100), "--eval-episodes", "0"]) == 0


def test_an_engine_that_fails_in_the_evaluation(tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    games = ["--total-steps", "256", "--eval-episodes", "400"]
    assert main([*PPO_SMALL, *games, "--env", "faulty_envs:Raise-v0", "--run-dir", str(run)]) == 1
    assert str(newest(run)) in error_line()
    assert (run / "encoder.safetensors").exists()
    assert not (run / "result.json").exists()


def test_a_reward_that_is_not_a_number_is_the_engines_fault(tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    assert main([*PPO_SMALL, *LONG, "--env", "faulty_envs:Nan-v0", "--run-dir", str(run)]) == 1
    assert "gave a reward that is not finite" in error_line()


def test_an_engine_that_hangs_is_noticed_and_the_run_saved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    hang = ["--env", "faulty_envs:Hang-v0", "--env-timeout", "2"]
    process = start(*PPO_SMALL, *LONG, *hang, "--run-dir", str(run))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert "environment faulty_envs:Hang-v0 has not answered for 2 s; kept: " in error
    assert str(newest(run)) in error
    assert load_checkpoint(newest(run))["agent"]["steps"] > 1_000


# ---------------------------------------------------------------------------- signals


def test_a_signal_does_not_wait_for_a_long_rollout(tmp_path: Path, monkeypatch) -> None:
    """A rollout of 10,000 steps of 0.1 s would take a quarter of an hour to its end."""
    monkeypatch.setattr(interrupts, "PATIENCE", 0.5)
    run = tmp_path / "run"
    sizes = ["--num-envs", "1", "--num-steps", "10000", "--num-minibatches", "2"]
    assert main([*PLAIN, *LONG, "--env", "faulty_envs:Sigterm-v0", *sizes, "--run-dir", str(run)]) == 143
    steps = load_checkpoint(newest(run))["agent"]["steps"]
    assert 300 < steps < 400
    assert main(["--resume", str(run), "--total-steps", str(steps), "--eval-episodes", "0"]) == 0


def test_a_signal_during_the_evaluation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    games = ["--total-steps", "256", "--eval-episodes", "400"]
    assert main([*PPO_SMALL, *games, "--env", "faulty_envs:Sigint-v0", "--run-dir", str(run)]) == 130
    assert not (run / "result.json").exists()
    assert main(["--resume", str(run), "--eval-episodes", "2"]) == 0  # what was cut short is caught up on
    assert (run / "result.json").exists()


@pytest.mark.parametrize("delay", [0.4, 1.6])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_start(number: int, code: int, delay: float, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(*CATCH, *PPO_SMALL, *LONG, "--run-dir", str(run))
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (code, -number)  # -number: before Python came to the program
    if process.returncode == code:
        assert "Traceback" not in error
    assert not run.exists() or list_checkpoints(run / "checkpoints")


# ---------------------------------------------------------------------------- killed


KILLED = """
import os, signal, sys
from relic_rl import train_run
from relic_rl.train import main
saved_at, killed_after = int(sys.argv[1]), int(sys.argv[2])
vector_steps = 0

class Games(train_run.RecentGames):
    def add(self, step):
        global vector_steps
        super().add(step)
        vector_steps += 1
        if vector_steps == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

def show(run, metrics, final=False):
    if run.agent.steps >= saved_at and not getattr(run, "done", False):
        run.done = True
        run.save()

train_run.RecentGames = Games
train_run.Run._show = show
sys.exit(main(sys.argv[3:]))
"""


def assert_same(a: object, b: object, where: str = "state") -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.shape == b.shape, where
        assert ((a == b) | ((a != a) & (b != b))).all(), where  # noqa: PLR0124 (nan: no game has ended)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"seconds", "best_return"}:  # the best of the checkpoints there were: one more here
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b or a != a, where  # noqa: PLR0124 (not a number)


@pytest.mark.parametrize(("env", "agent"), [("relic/Catch-v0", "ppo"), ("relic/Recall-v0", "r2d2")])
def test_killed_and_resumed_is_the_same_to_the_bit(env: str, agent: str, tmp_path: Path) -> None:
    """SIGKILL in the middle of a rollout, of an episode and of what the replay is about to hold."""
    options = ["--env", env, *AGENTS[agent], "--total-steps", "1600", "--eval-episodes", "0"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*options, "--run-dir", str(whole)]) == 0
    again = [*options, "--run-dir", str(killed), "--resume", "auto"]
    for saved_at, killed_after in ((300, 155), (900, 207)):
        command = [sys.executable, "-c", KILLED, str(saved_at), str(killed_after), *again]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert main(again) == 0
    for name in ("encoder.safetensors", "critic.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    assert_same(load_checkpoint(newest(whole)), load_checkpoint(newest(killed)))


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*CATCH, *PPO_SMALL, "--total-steps", "128", "--eval-episodes", "0", "--run-dir", str(run)]) == 0
    damaged, before = list_checkpoints(run / "checkpoints")[:2]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    capsys.readouterr()
    assert main(["--resume", "auto", "--run-dir", str(run), "--config", str(run / "config.yaml")]) == 0
    notes = " ".join(capsys.readouterr().out.split())
    assert f"{damaged} is damaged: its content hash is wrong; used {before.name} instead" in notes
    assert load_checkpoint(newest(run))["agent"]["steps"] >= 128


def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "replay").mkdir(parents=True)
    (run / ".lock").touch()
    (run / "replay" / "frames.npy").write_bytes(b"half")
    again = [*CATCH, *R2D2_SMALL, "--total-steps", "300", "--eval-episodes", "0", "--resume", "auto"]
    assert main([*again, "--run-dir", str(run)]) == 0
    assert newest(run).name == "step-000000000300.ckpt"


# ---------------------------------------------------------------------------- disk and directory


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, tmpfs, error_line) -> None:
    probe = tmp_path / "probe"
    options = [*CATCH, *PPO_SMALL, "--eval-episodes", "0"]
    assert main([*options, "--total-steps", "64", "--run-dir", str(probe)]) == 0
    size = max(path.stat().st_size for path in (probe / "checkpoints").iterdir())
    run = tmpfs(f"size={size * 3 // 2 // 1024}k") / "run"  # room for one, not for two
    assert main([*options, "--total-steps", "256", "--run-dir", str(run)]) == 1
    line = error_line()
    assert "No space left on device" in line
    assert str(run / "checkpoints" / "step-000000000000.ckpt") in line
    state = load_checkpoint(newest(run))
    assert state["agent"]["steps"] == 0
    assert main([*options, "--resume", str(run), "--run-dir", str(tmp_path / "elsewhere"), "--total-steps", "256"]) == 0


def test_a_read_only_run_directory(tmpfs, error_line) -> None:
    assert main([*CATCH, *PPO_SMALL, "--run-dir", str(tmpfs("ro") / "run")]) == 2
    assert "Read-only file system" in error_line()


def test_a_run_directory_deleted_under_way_is_made_anew_with_the_state(tmp_path: Path, monkeypatch, error_line) -> None:
    run = tmp_path / "run"
    write = Run._write_row

    def deleted(self: Run) -> None:
        if self.agent.steps >= 128:
            shutil.rmtree(run, ignore_errors=True)
        write(self)

    monkeypatch.setattr(Run, "_write_row", deleted)
    options = [*CATCH, *PPO_SMALL, "--eval-episodes", "0", "--total-steps", "256", "--run-dir", str(run)]
    assert main(options) == 1
    line = error_line()
    assert "progress.csv: No such file or directory" in line
    assert str(newest(run)) in line
    assert load_checkpoint(newest(run))["agent"]["steps"] >= 256
    monkeypatch.undo()
    assert main(["--resume", str(run), "--total-steps", "320"]) == 0


def test_a_directory_in_use_is_left_alone(tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    process = start(*CATCH, *PPO_SMALL, *LONG, "--run-dir", str(run))
    try:
        wait_for(lambda: any((run / "checkpoints").glob("*.ckpt")))
        for again in (["--resume", "auto", "--run-dir", str(run)], ["--resume", str(run)]):
            assert main([*CATCH, *PPO_SMALL, *again]) == 2
            assert "is in use by another process" in error_line()
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143


# ---------------------------------------------------------------------------- numbers and memory


@pytest.mark.parametrize("agent", AGENTS)
def test_numbers_that_are_not_finite_end_the_run_with_a_record(agent: str, tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    lost = ["--learning-rate", "1e30", "--max-grad-norm", "1e30", "--total-steps", "20000"]
    assert main([*CATCH, *AGENTS[agent], *lost, "--run-dir", str(run)]) == 1
    line = error_line()
    assert "not finite in 11 updates in a row" in line
    assert str(newest(run)) in line
    assert "not-finite.json" in line
    seen = json.loads((run / "not-finite.json").read_text())
    assert seen["updates_in_a_row"] == 11
    assert seen["agent_steps"] > 0
    assert {"loss/total", "frames" if agent == "r2d2" else "observation"} <= set(seen["seen"])
    network = load_checkpoint(newest(run))["agent"]
    network = network["learner"]["network"] if agent == "r2d2" else network["network"]
    assert all(torch.isfinite(value).all() and value.abs().max() < 1e6 for value in network.values())


def test_no_checkpoint_while_updates_are_skipped(tmp_path: Path, monkeypatch, error_line) -> None:
    """However often one is due: the newest must be a good one."""
    monkeypatch.setattr(train_run, "time", SimpleNamespace(monotonic=itertools.count(0, 1_000).__next__))
    saves, save = [], Run.save
    monkeypatch.setattr(Run, "save", lambda run, **options: (saves.append(run.agent.guard.sound), save(run, **options)))
    # Four updates an iteration: eleven skipped ones in a row last beyond two of its ends.
    lost = ["--learning-rate", "1e30", "--max-grad-norm", "1e30", "--total-steps", "20000"]
    assert main([*CATCH, *PPO_SMALL, *lost, "--run-dir", str(tmp_path / "run")]) == 1
    assert "not finite in 11 updates in a row" in error_line()
    assert saves
    assert all(saves)


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")


@pytest.mark.parametrize(
    ("agent", "learner", "settings"),
    [
        ("ppo", PPOLearner, "lower --num-envs 4 or raise --num-minibatches 2, or lower --aux-batch-size 8"),
        ("r2d2", R2D2Learner, "lower --batch-size 8 or --sequence-length 10, or lower --aux-batch-size 8"),
    ],
)
@pytest.mark.parametrize("error", [OUT, RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")])
def test_out_of_memory_names_the_setting(
    agent: str, learner: type, settings: str, error: Exception, tmp_path: Path, monkeypatch, error_line
) -> None:
    def update(*_: object) -> None:
        raise error

    monkeypatch.setattr(learner, "_update" if agent == "ppo" else "update", update)
    run = tmp_path / "run"
    assert main([*CATCH, *AGENTS[agent], "--total-steps", "2000", "--run-dir", str(run)]) == 1
    line = error_line()
    assert f"out of memory: {settings}; kept: " in line
    assert str(newest(run)) in line


def test_what_cannot_fit_is_refused_before_anything_is_made(tmp_path: Path, error_line) -> None:
    run = tmp_path / "run"
    for huge in (["--num-steps", "1000000000"], ["--projection-dim", "1000000000000"]):
        assert main([*CATCH, *PLAIN, *huge, "--run-dir", str(run)]) == 2
        assert "lower" in error_line()
        assert not run.exists()


# ---------------------------------------------------------------------------- for days


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize(("agent", "env", "games"), [("ppo", "ALE/Pong-v5", "0"), ("r2d2", "relic/Catch-v0", "2")])
def test_runs_leave_no_thread_and_no_open_file(agent: str, env: str, games: str, tmp_path: Path) -> None:
    found = []
    for run in range(3):
        options = [*AGENTS[agent], "--env", env, "--total-steps", "200", "--eval-episodes", games]
        assert main([*options, "--run-dir", str(tmp_path / str(run))]) == 0
        wait_for(lambda: not any("watchdog" in thread.name for thread in threading.enumerate()))
        if run:  # the first one opens what libraries keep open
            wait_for(lambda: all(now <= first for now, first in zip(held(), found[0], strict=True)))
        found.append(held())


def held() -> tuple[int, int]:
    """Open files and threads of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_kills_at_random_moments(agent: str) -> None:
    command = [sys.executable, str(HERE.parent / "benchmarks" / "kills.py"), "--agent", agent, "--kills", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "weights are to the bit those of an undisturbed run" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_a_long_run_gathers_nothing(agent: str) -> None:
    command = [sys.executable, str(HERE.parent / "benchmarks" / "leaks.py"), "--agent", agent, "--steps", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(re.search(r"last ([-+.\d]+) KiB", done.stdout)[1]) < 50  # frames that are kept would be over 1,000
    for kind in ("threads", "files"):
        before, after = re.search(rf"{kind} (\d+), later (\d+)", done.stdout).groups()
        assert before == after
