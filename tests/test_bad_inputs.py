"""Bad inputs, listed in ``bad_inputs.yaml``: one line, exit code 2, nothing made or changed."""

import hashlib
import importlib
import io
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from relic_rl import cli
from relic_rl.runtime.checkpoint import MAGIC, list_checkpoints, load_checkpoint, save_checkpoint
from relic_rl.train import main as train

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("bad_inputs.yaml").read_text())
RUNS = [(case, door) for case in CASES for door in case.get("doors", ["train"])]
LONG = "x" * 10_000
DEFAULTS = {"--precision": "fp32", "--device": "cpu"}  # no micro-benchmark, no GPU


class Payload:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("owned", "w"))


def container(payload: bytes, magic: bytes = MAGIC) -> bytes:
    """A checkpoint file around any payload, its hash right."""
    return magic + len(payload).to_bytes(8, "big") + hashlib.sha256(payload).digest() + payload


def saved(value: Any, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and hostile files."""
    home = tmp_path_factory.mktemp("bad-inputs")
    run, hostile = home / "run", home / "hostile"
    small = ["--env", "relic/Catch-v0", "--num-envs", "4", "--num-steps", "8", "--num-minibatches", "2"]
    small += ["--aux-batch-size", "8", "--total-steps", "32", "--eval-episodes", "0", "--precision", "fp32"]
    assert train([*small, "--device", "cpu", "--threads", "1", "--run-dir", str(run)]) == 0
    (hostile / "nothing").mkdir(parents=True)
    (hostile / "garbage").write_bytes(random.Random(0).randbytes(5_000))
    (hostile / "empty").write_bytes(b"")
    (hostile / "code.pickle").write_bytes(pickle.dumps({"code": Payload()}))
    (hostile / "header.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    (hostile / "loop").symlink_to("loop")
    other = {"model": {"w": torch.ones(2)}, "epoch": 3}
    (hostile / "code.pth").write_bytes(saved(other | {"code": Payload()}))
    (hostile / "old-code.pth").write_bytes(saved(other | {"code": Payload()}, old=True))
    (hostile / "list.pth").write_bytes(saved([1, 2]))
    (hostile / "half.pth").write_bytes(saved(other)[:400])
    (hostile / "other.pth").write_bytes(saved(other))
    sound = save_checkpoint(hostile / "x", 0, {"a": torch.ones(3)}).read_bytes()
    files = {
        "sound": sound,
        "half": sound[: len(sound) // 2],
        "flipped": sound[:-9] + bytes([sound[-9] ^ 4]) + sound[-8:],
        "later": container(saved({}), b"RELIC-RL checkpoint 2\n"),
        "code": container(saved({"code": Payload()})),
        "list": container(saved([1, 2])),
        "other": container(saved(other)),
    }
    state = load_checkpoint(list_checkpoints(run / "checkpoints")[0])
    files["agentless"] = container(saved({name: value for name, value in state.items() if name != "agent"}))
    for name, content in files.items():
        (hostile / f"{name}.ckpt").write_bytes(content)
    (hostile / "there.mp4").write_bytes(b"")
    (hostile / "empty-run").mkdir()
    (hostile / "empty-run" / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    for name, checkpoint, options in (("damaged-run", "half", "seed: 0\n"), ("optionless-run", "sound", "\0")):
        (hostile / name / "checkpoints").mkdir(parents=True)
        (hostile / name / "checkpoints" / "step-000000000005.ckpt").write_bytes(files[checkpoint])
        (hostile / name / "config.yaml").write_text(options)
    return home


@pytest.fixture
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace)
    return workspace


def command_line(case: dict[str, Any]) -> list[str]:
    given = [argument.replace("LONG", LONG) for argument in case["arguments"]]
    if case.get("doors") == ["console"]:
        return given
    made = [] if case.get("made") is False else ["--run-dir", "made"]
    return [*given, *made, *(word for flag, value in DEFAULTS.items() if flag not in given for word in (flag, value))]


def content(home: Path) -> dict[str, Any]:
    """Every file with its content and time."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(home.rglob("*"))
    }


def entry_point(door: str) -> Callable[[Sequence[str]], int]:
    return cli.main if door == "console" else importlib.import_module(f"relic_rl.{door}").main


def check(code: int, out: str, err: str, case: dict[str, Any]) -> None:
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert len(err.encode()) < 400
    assert case["says"] in err
    assert err.isprintable() or err[:-1].isprintable()
    assert (code, out) == (2, "")


def test_there_are_enough() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(("case", "door"), RUNS, ids=lambda value: value if isinstance(value, str) else value["name"])
def test_refused(case: dict[str, Any], door: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "yaml" in case:
        (here / "mine.yaml").write_text(case["yaml"])
    before = content(here)
    code = entry_point(door)(command_line(case))
    check(code, *capsys.readouterr(), case)
    assert content(here) == before


SAMPLE = ["unknown game", "exploding aliases", "resume from code in a checkpoint", "another run"]


@pytest.mark.parametrize("program", [["-m", "relic_rl.train"], ["-m", "relic_rl.cli", "train"]])
@pytest.mark.parametrize("name", SAMPLE)
def test_refused_by_the_program_itself(name: str, program: list[str], here: Path) -> None:
    case = next(case for case in CASES if case["name"] == name)
    if "yaml" in case:
        (here / "mine.yaml").write_text(case["yaml"])
    before = content(here)
    command = [sys.executable, *program, *command_line(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check(done.returncode, done.stdout, done.stderr, case)
    assert content(here) == before
