"""How doors end."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from relic_rl.runtime.errors import (
    MAX_LINE,
    BadInput,
    RunFailed,
    Terminated,
    fit_line,
    join_problems,
    run_door,
    user_errors,
)


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("no such game:\n try Pong"), 2, "error: no such game: try Pong"),
        (RunFailed("worker 3 died"), 1, "error: worker 3 died"),
        (OSError(28, "No space left on device", "/a/b"), 1, "error: /a/b: No space left on device"),
        (OSError("odd"), 1, "error: odd"),
        (MemoryError(), 1, "error: out of memory: lower the batch size or --num-envs"),
        (OutOfMemoryError("CUDA ..."), 1, "error: out of memory: lower the batch size or --num-envs"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (Terminated(), 143, "error: terminated"),
        (BadInput("x" * 1000 + "é" * 1000), 2, None),
        (BadInput("é" * 1000), 2, None),
    ],
)
def test_one_line_and_a_code(
    error: BaseException, code: int, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def door() -> int:
        raise error

    assert run_door(door) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert len(err.encode()) <= MAX_LINE + 1 <= 400
    assert err.startswith("error: ")
    assert line is None or err == line + "\n"


@pytest.mark.parametrize("error", [ValueError("bug"), RuntimeError("bug"), KeyError("bug"), SystemExit(0)])
def test_bugs_and_exits_pass_through(error: BaseException) -> None:
    def door() -> int:
        raise error

    with pytest.raises(type(error)):
        run_door(door)


def test_results() -> None:
    assert run_door(lambda: 130) == 130
    assert run_door(lambda: None) == 0


def test_user_errors() -> None:
    with pytest.raises(BadInput, match="give 3"), user_errors():
        raise ValueError("give 3")
    with pytest.raises(BadInput, match="as it is"), user_errors():
        raise BadInput("as it is")
    with pytest.raises(KeyError), user_errors():
        raise KeyError("a bug")


def test_sigterm_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[Any] = []
    run_door(lambda: inside.append(signal.getsignal(signal.SIGTERM)))
    assert inside[0] != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_join_problems() -> None:
    assert join_problems(["a"]) == "a"
    assert join_problems(["a", "b", "a"]) == "a; b"
    for length in range(1, 130):
        problems = [f"{i}" + "x" * length for i in range(9)]
        line = join_problems(problems, limit=100)
        assert len(line) <= 100
        assert line.startswith("0x")
        if length <= 8:
            assert line == "; ".join(problems)
        else:
            told = line.count("x;") + line.count("...;")
            assert line.endswith(f"; and {9 - told} more")


def test_fit_line_escapes_what_a_terminal_would_obey() -> None:
    assert fit_line("a\x1b[31mb\r\n\tc \udcff") == "a\\x1b[31mb c \\udcff"


def test_fit_line_shortens_what_is_long_rather_than_what_is_said() -> None:
    line = fit_line(f"--run-dir {'a' * 300}/{'b' * 300}: File name too long")
    assert line == f"--run-dir {'a' * 48}...{'b' * 47}: File name too long"
    assert fit_line(f"{'a' * 300}: fits") == f"{'a' * 300}: fits"


BUG = "from relic_rl.runtime.errors import run_door\nimport sys\nsys.exit(run_door(lambda: 1 // 0))"
HEAD = """
import sys
from relic_rl.runtime.errors import run_door
def door():
    for _ in range(100_000):
        print("x" * 1000)
sys.exit(run_door(door))
"""


def test_a_bug_keeps_its_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", BUG], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_readers_that_go_away() -> None:
    command = f'{sys.executable} -c "$0" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command, HEAD], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "error: whoever read the output is gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_output_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", HEAD], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")
