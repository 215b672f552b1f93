"""Run directories and what --resume means."""

# ruff: noqa: PT012 (what happens inside a run directory is the point)

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from relic_rl.runtime.checkpoint import CheckpointError, save_checkpoint
from relic_rl.runtime.errors import BadInput, RunFailed
from relic_rl.runtime.files import write_text
from relic_rl.runtime.resume import Resume, resolve_resume
from relic_rl.runtime.rundir import RunDir, versions


def test_default_names_count_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = []
    for _ in range(3):
        with RunDir(None, name="ALE/Pong-v5 ppo/../..") as run:
            run.write_config("a: 1\n")
            paths.append(str(run.path))
    assert paths == [f"runs/ALE-Pong-v5-ppo-{i}" for i in (1, 2, 3)]


def test_what_is_written(tmp_path: Path) -> None:
    with RunDir(tmp_path / "a" / "b") as run:
        run.write_config("env: Pong\n")
        run.write_versions("CPU")
        run.write_result({"score": 1.5, "bad": float("nan"), "more": [float("inf"), {"x": 2}]})
    assert (run.path / "config.yaml").read_text() == "env: Pong\n"
    assert json.loads((run.path / "result.json").read_text()) == {
        "score": 1.5,
        "bad": None,
        "more": [None, {"x": 2}],
    }
    recorded = json.loads((run.path / "versions.json").read_text())
    assert recorded["device"] == "CPU"
    assert recorded["packages"]["torch"].startswith("2.")
    assert {"numpy", "envpool", "kornia", "Pillow"} <= set(recorded["packages"])  # what pixels depend on
    assert recorded["python"].startswith("3.")
    assert sorted(p.name for p in run.path.iterdir()) == [
        ".lock",
        "config.yaml",
        "result.json",
        "versions.json",
    ]


def test_commit_of_a_checkout_only() -> None:
    commit = versions()["commit"]
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        assert commit is None or len(commit.removesuffix("-dirty")) == 40
    else:
        assert commit is None


def begin(path: Path) -> None:
    with RunDir(path) as run:
        run.write_config("")


def refused(path: Path, *, resume: bool = False) -> str:
    with pytest.raises(BadInput) as caught:
        RunDir(path, resume=resume)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_places_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    assert "is a file" in refused(file)
    assert "Not a directory" in refused(file / "below")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    assert "is not empty: choose another" in refused(other)
    assert "holds no run" in refused(other, resume=True)
    begin(tmp_path / "run")
    assert f"holds another run: choose another, or continue it with --resume {tmp_path}/run" in refused(
        tmp_path / "run"
    )
    with RunDir(tmp_path / "run", resume=True):
        pass
    assert file.read_text() == "precious"
    assert sorted(p.name for p in other.iterdir()) == ["thesis.tex"]


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    begin(tmp_path)
    assert (tmp_path / "config.yaml").exists()


def test_a_read_only_place(read_only_disk: Path) -> None:
    assert "Read-only file system; choose another" in refused(read_only_disk / "run")
    assert "Read-only file system" in refused(read_only_disk)


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such game"), RunDir(tmp_path / "new" / "run") as run:
        run.write_config("")
        run.write_versions("CPU")
        raise BadInput("no such game")
    assert list(tmp_path.iterdir()) == []
    # a directory that was there stays, without what was written into it
    with pytest.raises(BadInput), RunDir(tmp_path) as run:
        run.write_config("")
        raise BadInput("no such game")
    assert list(tmp_path.iterdir()) == []


def test_an_early_end_of_another_kind_leaves_no_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunDir(tmp_path / "new" / "run"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), RunDir(tmp_path / "new" / "run") as run:
        run.write_config("")
        raise ZeroDivisionError
    assert (run.path / "config.yaml").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_late_bad_input_destroys_nothing(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "run"
    if resume:
        begin(path)
    with pytest.raises(BadInput), RunDir(path, resume=resume) as run:
        run.write_config("")
        run.write_versions("CPU")
        if not resume:
            save_checkpoint(run.checkpoints, 7, {})
        raise BadInput("late")
    left = {p.name for p in path.iterdir()} - {"checkpoints"}
    assert left == {".lock", "config.yaml", "versions.json"}
    assert resume or (path / "checkpoints" / "step-000000000007.ckpt").exists()


def test_failures_name_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as caught, RunDir(tmp_path / "run") as run:
        run.write_config("")
        raise OSError(28, "No space left on device", "progress.csv")
    assert str(caught.value) == "progress.csv: No space left on device; no checkpoint was written yet"
    with pytest.raises(RunFailed) as caught, RunDir(tmp_path / "run", resume=True) as run:
        for step in (90, 100_000):
            save_checkpoint(run.checkpoints, step, {})
        raise RunFailed("not finite")
    kept = tmp_path / "run" / "checkpoints" / "step-000000100000.ckpt"
    assert str(caught.value) == f"not finite; kept: {kept}; continue with --resume {tmp_path}/run"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"a\.txt"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_while_running(small_disk: Path) -> None:
    message = r"big.txt: No space left on device; no checkpoint"
    with pytest.raises(RunFailed, match=message), RunDir(small_disk / "run") as run:
        run.write_config("")
        write_text(run.path / "big.txt", "x" * 1_000_000)
    assert sorted(p.name for p in run.path.iterdir()) == [".lock", "config.yaml"]


HOLDER = """
import sys, time
from relic_rl.runtime.rundir import RunDir
with RunDir(sys.argv[1]) as run:
    run.write_config("")
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_share_a_run(tmp_path: Path, script: Any) -> None:
    path = tmp_path / "run"
    holder = script(HOLDER, str(path))
    assert holder.wait_for_line() == "held"
    assert "is in use by another process" in refused(path, resume=True)
    assert (path / "config.yaml").exists()
    holder.process.send_signal(signal.SIGKILL)
    holder.finish()
    with RunDir(path, resume=True):  # the lock died with its process
        assert "in use" in refused(path, resume=True)  # and now it is ours
    with RunDir(path, resume=True):
        pass


# ----------------------------------------------------------------------- resume


def make_run(path: Path, *steps: int) -> Path:
    begin(path)
    for step in steps:
        save_checkpoint(path / "checkpoints", step, {"step": step})
    return path


def test_resume_auto(tmp_path: Path) -> None:
    assert resolve_resume(None, None) is None
    with pytest.raises(BadInput, match="needs --run-dir"):
        resolve_resume("auto", None)
    new = str(tmp_path / "new")
    assert resolve_resume("auto", new) == Resume(Path(new), None)
    fresh = resolve_resume("auto", new)
    assert fresh is not None
    assert fresh.load() is None
    assert fresh.config_file is None
    run = make_run(tmp_path / "run", 3, 4)
    found = resolve_resume("auto", str(run))
    assert found == Resume(run, run / "checkpoints")
    assert found.config_file == run / "config.yaml"
    loaded = found.load()
    assert loaded is not None
    assert loaded.state == {"step": 4}


def test_resume_a_path(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 3, 4)
    for given in (run, run / "checkpoints"):
        assert resolve_resume(str(given), None) == Resume(run, run / "checkpoints")
    assert resolve_resume(str(run), "elsewhere") == Resume(Path("elsewhere"), run / "checkpoints")
    file = run / "checkpoints" / "step-000000000003.ckpt"
    found = resolve_resume(str(file), None)
    assert found == Resume(run, file)
    assert found.config_file == run / "config.yaml"
    loaded = found.load()
    assert loaded is not None
    assert loaded.state == {"step": 3}
    loose = tmp_path / "loose.ckpt"
    os.link(file, loose)
    with pytest.raises(BadInput, match="give --run-dir"):
        resolve_resume(str(loose), None)
    assert resolve_resume(str(loose), "new") == Resume(Path("new"), loose)


def test_resume_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such run directory or checkpoint"):
        resolve_resume(str(tmp_path / "missing"), None)
    with pytest.raises(BadInput, match="no checkpoints in"):
        resolve_resume(str(tmp_path), None)
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_text("garbage")
    found = resolve_resume(str(damaged), "x")
    assert found is not None
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        found.load()
