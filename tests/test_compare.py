"""``python -m relic_rl.compare`` from its command line to its report."""

import csv
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from relic_rl import comparing
from relic_rl.compare import main
from relic_rl.compare_options import CompareConfig
from relic_rl.compare_plan import ARM_OPTIONS, make_plan, replay_bytes
from relic_rl.comparison.costs import CostFile
from relic_rl.comparison.launch import LocalLauncher, Outcome
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import save_encoder
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.train import main as train

TINY = ["device=cpu", "precision=fp32", "num_envs=4", "num_steps=16", "num_minibatches=2", "num_epochs=1"]
TINY += ["eval_episodes=4", "video=false", "checkpoint_every=1", "aux_batch_size=8"]
SMALL = ["--games", "relic/Catch-v0", "--objectives", "relic(alpha=2),none", "--total-steps", "2000"]
SMALL += ["--train-options", *TINY]
LOCAL = ["--measure-seconds", "0"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def compare(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "relic_rl.compare", *SMALL, *LOCAL, "--seeds", "2", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(compare("--run-dir", str(folder)))
    return folder


def test_runs_report_and_their_options(undisturbed: Path) -> None:
    arms = {path.stem: yaml.safe_load(path.read_text()) for path in (undisturbed / "arms").iterdir()}
    assert set(arms) == {"relic-alpha=2", "none"}
    assert arms["relic-alpha=2"]["alpha"] == 2.0
    assert "alpha" not in arms["none"]
    for arm, options in arms.items():
        for seed in range(2):
            made = yaml.safe_load((undisturbed / "relic-Catch-v0" / arm / f"seed{seed}" / "config.yaml").read_text())
            assert made == options | {"seed": seed}
    text = (undisturbed / "report" / "report.md").read_text()
    assert "4 of 4 runs are finished" in text
    assert "relic(alpha=2) over none" in text
    with (undisturbed / "costs.csv").open() as file:
        assert [row["exit_code"] for row in csv.DictReader(file)] == ["0"] * 4


def test_a_second_start_runs_nothing(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(undisturbed / "report")
    assert main([*SMALL, *LOCAL, "--seeds", "2", "--run-dir", str(undisturbed)]) == 0
    assert "0 of 4 runs are to be made" in capsys.readouterr().out
    assert contents(undisturbed / "report") == before


def test_other_options_are_refused_where_runs_are(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--total-steps", "4000"], ["--train-options", *TINY, "learning_rate=0.1"]):
        assert main([*SMALL, *LOCAL, *more, "--run-dir", str(undisturbed)]) == 2
        error = capsys.readouterr().err
        assert "holds another run" in error
        assert len(error.encode()) < 400


def test_from_makes_the_same_tables(undisturbed: Path, tmp_path: Path) -> None:
    assert main(["--from", str(undisturbed), "--run-dir", str(tmp_path / "out")]) == 0
    theirs = (undisturbed / "report" / "games.csv").read_text().replace("relic(alpha=2)", "relic")
    assert sorted((tmp_path / "out" / "report" / "games.csv").read_text().splitlines()) == sorted(theirs.splitlines())


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[1] == str(parent) and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopped_in_the_middle_it_ends_with_the_same_report(number: int, undisturbed: Path, tmp_path: Path) -> None:
    process = compare("--run-dir", str(tmp_path / "out"))
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/*/seed*/checkpoints/step-*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    started = children(process.pid)
    assert started
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in started):
        assert time.monotonic() < deadline, "a run went on alone"
        time.sleep(0.02)
    assert not (tmp_path / "out" / "report").exists()
    assert "to be made" in finish(compare("--run-dir", str(tmp_path / "out")))
    assert contents(tmp_path / "out" / "report") == contents(undisturbed / "report")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_one_failing_run_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = tmp_path / "out" / "relic-Catch-v0" / "none" / "seed0"
    spoilt.mkdir(parents=True)
    (spoilt / "stranger").write_text("")
    (tmp_path / "out" / ".lock").write_text("")
    arguments = [
        *SMALL,
        *LOCAL,
        "--seeds",
        "1",
        "--total-steps",
        "64",
        "--jobs",
        "1",
        "--run-dir",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "1 of 2 runs failed" in captured.err
    assert "none/seed0" in captured.err
    assert "holds no run" in captured.err
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "1 of 2 runs are finished" in report
    assert "none/seed0: " in report


def test_print_gives_lines_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    arguments = [*SMALL, "--total-steps", "64", "--seeds", "1", "--run-dir", out]
    assert main([*arguments, "--launcher", "print", "--threads", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert len(lines) == 2
    assert all(line.startswith("OMP_NUM_THREADS=1 ") for line in lines)
    words = shlex.split(lines[0])
    done = subprocess.run(["env", *words], capture_output=True, check=True, text=True)
    assert "evaluation: mean score" in done.stdout
    assert main([*arguments, "--launcher", "print", "--threads", "1"]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]) == 1


def test_the_estimate_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, "--seeds", "1", "--objectives", "relic", "--measure-seconds", "1"]
    assert main([*arguments, "--run-dir", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"estimate from a measurement of 1 s: 0:0\d:\d\d of training for 2,000 agent steps", out), out


def plan_of(*arguments: str):
    return make_plan(parse_config(CompareConfig, [*SMALL, *arguments], kind="compare"))


def test_options_reach_the_arms_that_they_apply_to() -> None:
    plan = plan_of("--objectives", "relic,infonce,none", "--train-options", "alpha=3", "temperature=0.2", "anneal=no")
    assert (plan.options["relic"].alpha, plan.options["relic"].temperature) == (3.0, 0.2)
    assert (plan.options["infonce"].alpha, plan.options["infonce"].temperature) == (1.0, 0.2)
    assert plan.options["none"].temperature == 0.1
    assert not any(options.anneal for options in plan.options.values())


def test_arms_that_start_from_a_trained_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs in every arm that asks for it, and in no other."""
    options = [f"--{word}" for word in TINY[:-1] if "video" not in word]
    first = ["--env", "relic/Catch-v0", "--objective", "none", "--total-steps", "300", "--no-video", *options]
    assert train([*first, "--run-dir", str(tmp_path / "first")]) == 0
    weights = tmp_path / "first" / "encoder.safetensors"
    arms = ["none", f"none(encoder_weights={weights})", f"none(encoder_weights={weights},freeze_encoder=yes)"]
    out = tmp_path / "out"
    small = [*SMALL[:2], "--objectives", *arms, "--total-steps", "500", "--train-options", *TINY[:-1], "--seeds", "1"]
    assert main([*small, *LOCAL, "--run-dir", str(out)]) == 0
    found = {}
    for config in out.rglob("config.yaml"):
        made = yaml.safe_load(config.read_text())
        if "env" in made:
            found[made["encoder_weights"], made["freeze_encoder"]] = load_file(config.parent / weights.name)
    assert set(found) == {(None, False), (str(weights), False), (str(weights), True)}
    for arm, learned in found.items():
        same = [torch.equal(value, learned[name]) for name, value in load_file(weights).items()]
        assert all(same) == (arm == (str(weights), True))
    capsys.readouterr()
    # Refused before anything is made: no file, and one that this environment's encoder does not fit.
    other = build_encoder("nature", in_channels=4, image_size=(36, 36), feature_dim=16)
    save_encoder(tmp_path / "other.safetensors", other, {})
    for name in ("nosuch", "other.safetensors"):
        bad = ["--objectives", f"none,none(encoder_weights={tmp_path / name})", "--run-dir", f"{out}2"]
        assert main([*small[:2], *bad]) == 2
        assert name in capsys.readouterr().err
        assert not Path(f"{out}2").exists()


def test_what_an_arm_may_set() -> None:
    assert {"alpha", "divergence", "temperature", "target_decay", "aux_weight"} <= set(ARM_OPTIONS)
    assert not {"augmentation", "learning_rate", "num_envs", "replay_capacity", "total_steps"} & set(ARM_OPTIONS)


BAD = {
    "unknown game": (["--games", "Pongg"], "ALE/Pong-v5"),
    "no game": (["--games", ","], "no game"),
    "unknown suite": (["--games", "atari-6"], "atari-5"),
    "unknown toy": (["--games", "relic/Cach-v0"], "relic/Catch-v0"),
    "unknown objective": (["--objectives", "relik"], "relic"),
    "an arm twice": (["--objectives", "none,none"], "twice"),
    "half an arm": (["--objectives", "relic(alpha"], "relic(alpha=2,divergence=js)"),
    "equal arms": (["--objectives", "relic(alpha=0),infonce"], "equal by construction"),
    "a penalty under two names": (["--objectives", "relic,relic(divergence=symmetric_kl)"], "equal by construction"),
    "nothing to weigh": (["--objectives", "byol(aux_weight=0),none"], "equal by construction"),
    "hyper-parameter of one arm": (["--objectives", "relic(learning_rate=1),none"], "--train-options learning_rate"),
    "recipe of one arm": (["--objectives", "relic(augmentation=crop),none"], "the same in every arm"),
    "option without effect in its arm": (["--objectives", "none(alpha=2)"], "no effect"),
    "option without effect in any": (["--objectives", "none,augment", "--train-options", "alpha=2"], "any arm"),
    "unknown option": (["--train-options", "learning_rat=1"], "learning_rate"),
    "option that compare sets": (["--train-options", "seed=3"], "seed"),
    "no value": (["--train-options", "anneal"], "NAME=VALUE"),
    "no truth": (["--train-options", "anneal=perhaps"], "true or false"),
    "no number": (["--train-options", "learning_rate=x"], "learning-rate"),
    "out of range": (["--train-options", "learning_rate=-1"], "learning-rate"),
    "an option twice": (["--train-options", "anneal=no", "anneal=yes"], "twice"),
    "unknown divergence": (["--objectives", "relic(divergence=kll)"], "kl"),
    "unknown augmentation": (["--train-options", "augmentation=shfit"], "shift"),
    "no evaluation": (["--train-options", "eval_episodes=0"], "eval_episodes"),
    "preset of another agent": (["--train-config", "r2d2-small"], "--agent r2d2"),
    "unknown preset": (["--train-config", "ppo-smal"], "ppo-small"),
    "no seeds": (["--seeds", "0"], "--seeds"),
    "threads elsewhere": (["--launcher", "print"], "--threads"),
    "styles that nobody plays": (["--launcher", "print", "--threads", "1", "--styles", "noise"], "--styles"),
    "nothing there": (["--from", "nowhere"], "nowhere"),
    "runs to make and to take": (["--from", "nowhere", "--games", "Pong"], "--from"),
    "a single run": (["--run-dir", "run"], "single run"),
    "something else": (["--run-dir", "other"], "holds no run"),
    "no such device": (["--train-options", "device=tpu"], "device"),
}


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("env: ALE/Pong-v5\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    given = ["--games", "relic/Catch-v0"] if "--games" not in arguments and "--from" not in arguments else []
    where = [] if "--run-dir" in arguments else ["--run-dir", "made"]
    assert main([*given, *arguments, *where]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert len(error.encode()) < 400
    assert says in error
    assert sorted(tmp_path.rglob("*")) == before


def test_each_gpu_has_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("--train-options", "device=auto")
    config = parse_config(CompareConfig, SMALL, kind="compare")
    monkeypatch.setattr(comparing, "resolve_device", lambda name: type("D", (), {"type": "cuda"}))
    monkeypatch.setattr(comparing.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert comparing._slots(config, plan, 9)[0] == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    jobs = parse_config(CompareConfig, [*SMALL, "--jobs", "3"], kind="compare")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in comparing._slots(jobs, plan, 9)[0]] == ["5", "7", "5"]


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    plan = plan_of()

    def shares(pending: int, *arguments: str) -> tuple[int, int]:
        slots, threads = comparing._slots(
            parse_config(CompareConfig, [*SMALL, *arguments], kind="compare"), plan, pending
        )
        return len(slots), threads

    assert shares(100) == (8, 1)
    assert shares(3) == (3, 2)
    assert shares(100, "--jobs", "2") == (2, 4)
    assert shares(100, "--threads", "4") == (2, 4)
    assert shares(0) == (1, 8)


class Ended:
    """A launcher whose jobs have all ended with one exit code."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code

    def run(self, jobs):
        yield from (Outcome(job, self.exit_code, 1.0, None, "terminated") for job in jobs)


def ended(exit_code: int, costs, tmp_path: Path) -> list[Outcome]:
    plan = plan_of("--seeds", "1")
    jobs = [comparing._job(run, plan, tmp_path) for run in plan.runs]
    with Interrupts() as interrupts:
        return comparing._run(Ended(exit_code), jobs, plan, tmp_path, costs, 30.0, interrupts)


def test_a_run_that_somebody_else_stopped_has_failed(tmp_path: Path) -> None:
    costs = CostFile(tmp_path / "costs.csv")
    assert len(ended(143, costs, tmp_path)) == 2
    assert len(ended(1, costs, tmp_path)) == 2
    assert ended(0, costs, tmp_path) == []
    with Interrupts() as interrupts:
        interrupts.exit_code = 143
        run = Outcome(None, 143, 1.0, None, "terminated")  # type: ignore[arg-type]
        assert not comparing._failed(run, interrupts)
        assert comparing._failed(run._replace(exit_code=137), interrupts)


def test_what_cannot_be_written_down_stops_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(0, CostFile(tmp_path / "gone" / "costs.csv"), tmp_path) == []
    assert capsys.readouterr().out.count("is not recorded") == 2


def test_the_memory_of_a_replay_is_counted_at_every_start() -> None:
    assert replay_bytes(plan_of().one, 1) == 0
    options = ["--agent", "r2d2", "--train-options", "device=cpu", "precision=fp32", "num_envs=4"]
    small, large = (replay_bytes(plan_of(*options, f"replay_capacity={size}").one, 1) for size in (10_000, 20_000))
    assert 1.5 < large / small < 2.5
    assert small > 10_000 * 40 * 40
    assert replay_bytes(plan_of(*options, "replay_capacity=10000", "replay_on_disk=true").one, 1) == 0


def test_interrupts_are_a_stop_sign() -> None:
    with Interrupts() as interrupts:
        assert list(LocalLauncher([{}], interrupts).run([])) == []


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
def test_ray_spreads_the_runs_over_two_workers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1).node_id for _ in range(2)]
        cluster.wait_for_nodes()
        out = tmp_path / "out"
        arguments = [*SMALL, "--seeds", "1", "--launcher", "ray", "--ray-address", cluster.address, "--threads", "1"]
        assert main([*arguments, "--run-dir", str(out)]) == 0
        alive_nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        assert set(nodes) <= alive_nodes
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert "2 of 2 runs are finished" in (out / "report" / "report.md").read_text()
