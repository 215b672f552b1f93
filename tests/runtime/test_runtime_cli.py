"""The console script."""

import importlib
import subprocess
import sys
import types
from typing import Any

import pytest

import relic_rl
from relic_rl import cli


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Only train and evaluate exist; what they are called with."""
    calls: list[Any] = []

    def load(name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        module.main = lambda argv: calls.append((name, argv)) or 7  # type: ignore[attr-defined]
        return module

    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name in ("relic_rl.train", "relic_rl.evaluate") or None
    )
    monkeypatch.setattr(importlib, "import_module", load)
    return calls


def test_hands_over(doors: list[Any]) -> None:
    assert cli.main(["train", "--env", "Pong", "--help"]) == 7
    assert cli.main(["evaluate"]) == 7
    assert doors == [("relic_rl.train", ["--env", "Pong", "--help"]), ("relic_rl.evaluate", [])]


@pytest.mark.parametrize("argv", [[], ["tain"], ["compare"], ["--train"], ["x" * 1000], ["a\nb"]])
def test_unknown_commands(argv: list[str], doors: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: no command ")
    assert err.endswith(": give one of train, evaluate\n")
    assert err.count("\n") == 1
    assert len(err.encode()) < 400
    assert doors == []


def test_help_offers_what_exists(doors: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "train" in text
    assert "evaluate" in text
    assert "pretrain" not in text
    assert "compare " not in text


def test_the_script_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relic_rl.cli", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"relic-rl {relic_rl.__version__}\n", "")
    done = subprocess.run(
        [sys.executable, "-m", "relic_rl.cli", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
