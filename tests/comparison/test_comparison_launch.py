"""Processes, several at a time, that nothing survives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relic_rl.comparison.costs import Cost, CostFile, describe_estimate
from relic_rl.comparison.launch import Job, LocalLauncher, Outcome, failure

HERE = Path(__file__).parent


class Sign:
    requested = False


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a job that runs lines of Python."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def make(name: str, code: str, *arguments: str) -> Job:
        (tmp_path / f"job_{name}.py").write_text(code)
        return Job(name, f"job_{name}", arguments, tmp_path / "logs" / f"{name}.log", 1)

    return make


def outcomes(launcher: LocalLauncher, *jobs: Job) -> dict[str, Outcome]:
    return {outcome.job.name: outcome for outcome in launcher.run(jobs) if outcome is not None}


def test_a_failure_stops_no_other(jobs) -> None:
    bad = "import sys; print('error: no such thing', file=sys.stderr); print('more'); sys.exit(2)"
    good = "import os, sys; print(os.environ['OMP_NUM_THREADS'], os.environ['SLOT'], *sys.argv[1:])"
    ended = outcomes(
        LocalLauncher([{"SLOT": "only"}], Sign()),
        jobs("bad", bad),
        jobs("killed", "import os; os.kill(os.getpid(), 9)"),
        jobs("good", good, "--a", "b"),
    )
    assert {name: outcome.exit_code for name, outcome in ended.items()} == {"bad": 2, "killed": 137, "good": 0}
    assert ended["bad"].message == "no such thing"
    assert ended["killed"].message == "killed by signal 9"
    assert ended["good"].job.log.read_text() == "1 only --a b\n"
    assert 5 * 2**20 < (ended["good"].peak_bytes or 0) < 2**30


def test_a_job_that_cannot_be_started_stops_no_other(jobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unfit = jobs("unfit", "")._replace(log=tmp_path / "file" / "log")
    ended = outcomes(LocalLauncher([{}], Sign()), unfit, jobs("good", "print('here')"))
    assert (ended["unfit"].exit_code, ended["good"].exit_code) == (1, 0)
    assert "Not a directory" in ended["unfit"].message or "File exists" in ended["unfit"].message


def test_as_many_at_a_time_as_there_are_slots(jobs, tmp_path: Path) -> None:
    code = (
        "import os, pathlib, time; here = pathlib.Path('{0}'); mine = here / str(os.getpid()); mine.touch();"
        "n = len(list(here.iterdir())); time.sleep(0.3); mine.unlink(); print(n)"
    )
    (tmp_path / "now").mkdir()
    many = [jobs(f"n{i}", code.format(tmp_path / "now")) for i in range(4)]
    ended = outcomes(LocalLauncher([{}, {}], Sign()), *many)
    counts = [int(outcome.job.log.read_text()) for outcome in ended.values()]
    assert max(counts) == 2


STUBBORN = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), exit(143)))
pathlib.Path("{0}").touch()
time.sleep(60)
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_lets_runs_save_and_starts_no_more(jobs, tmp_path: Path) -> None:
    sign = Sign()
    first, second = jobs("first", STUBBORN.format(tmp_path / "up")), jobs("second", "print('never')")
    ended = []
    for outcome in LocalLauncher([{}], sign).run([first, second]):
        sign.requested = sign.requested or (tmp_path / "up").exists()
        ended += [outcome] if outcome else []
    assert [(outcome.job.name, outcome.exit_code) for outcome in ended] == [("first", 143)]
    assert first.log.read_text() == "saved\n"


def test_closing_ends_what_runs(jobs, tmp_path: Path) -> None:
    code = "import os, pathlib, time; pathlib.Path('{0}').write_text(str(os.getpid())); time.sleep(60)"
    running = LocalLauncher([{}], Sign()).run([jobs("long", code.format(tmp_path / "pid"))])
    for _ in running:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
    running.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes half a second")
def test_a_run_dies_with_whoever_started_it(jobs, tmp_path: Path) -> None:
    code = "import os, pathlib, time; pathlib.Path('{0}').write_text(str(os.getpid())); time.sleep(60)"
    job = jobs("tied", code.format(tmp_path / "pid"))
    parent = f"""
import sys
from pathlib import Path
from relic_rl.comparison.launch import Job, LocalLauncher
class Sign: requested = False
for _ in LocalLauncher([{{}}], Sign()).run([Job("tied", {job.module!r}, (), Path({str(job.log)!r}), 1)]): pass
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(tmp_path / "pid")
    time.sleep(0.1)
    child = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split(")")[1].split()[0] == "Z":
            return  # dead; nobody has asked for its exit code
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the run went on alone")


def test_why_a_job_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert failure(log, 0) == ""
    assert failure(log, 1) == "it said nothing"
    log.write_text("Traceback\nKeyError: 'x'\n")
    assert failure(log, 1) == "KeyError: 'x'"


def test_shell_line() -> None:
    job = Job("a", "relic_rl.train", ("--env", "a b"), Path("log"), 3)
    assert job.shell_line() == f"OMP_NUM_THREADS=3 {sys.executable} -m relic_rl.train --env 'a b'"


def test_costs_are_kept(tmp_path: Path) -> None:
    job = Job("Pong/relic/seed0", "m", (), tmp_path / "log", 1)
    file = CostFile(tmp_path / "costs.csv")
    file.add(Outcome(job, 143, 3.0, 300 << 20, ""))
    CostFile(tmp_path / "costs.csv").add(Outcome(job, 0, 5.0, 200 << 20, ""))
    again = CostFile(tmp_path / "costs.csv")
    assert again.peak_bytes("Pong/relic/seed0") == 300 << 20
    assert again.peak_bytes("other") is None
    assert (tmp_path / "costs.csv").read_text().count("\n") == 3


def test_estimate_by_hand() -> None:
    costs = {"relic": [Cost(100.0, 2**30), Cost(100.0, 2 * 2**30)], "none": [Cost(200.0, None)]}
    steps = {"relic": 36_000, "none": 72_000}
    text = describe_estimate(costs, steps, 2, source="finished runs", more_bytes=2**30, available=4 * 2**30)
    assert "estimate from finished runs: 0:06:00 of training for 108,000 agent steps, 2 at a time" in text
    assert "memory 3.0 GiB a run, 6.0 GiB together, 4.0 GiB are left: TOO LITTLE" in text
    # an arm that is not known counts as the mean of all
    text = describe_estimate({"a": [Cost(100.0, None)]}, {"b": 1000}, 1, source="x", more_bytes=0, available=None)
    assert "0:00:10" in text
