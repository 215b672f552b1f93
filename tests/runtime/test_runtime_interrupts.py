"""Signals: the first saves, the second stops at once."""

import signal
from pathlib import Path
from typing import Any

import pytest

from relic_rl.runtime.interrupts import Interrupts

LOOP = """
import pathlib, sys, time
from relic_rl.runtime.errors import run_door
from relic_rl.runtime.interrupts import Interrupts
saved, obey = pathlib.Path(sys.argv[1]), sys.argv[2] == "obey"
def door():
    with Interrupts() as interrupts:
        print("ready", flush=True)
        while not (interrupts.requested and obey):
            if interrupts.requested:
                print("noted", flush=True)
            time.sleep(0.01)
        saved.write_text("saved")
    return interrupts.exit_code
sys.exit(run_door(door))
"""
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_first_signal_saves(tmp_path: Path, script: Any, number: int, code: int) -> None:
    running = script(LOOP, str(tmp_path / "saved"), "obey")
    assert running.wait_for_line() == "ready"
    running.process.send_signal(number)
    ended, err = running.finish()
    assert ended == code
    assert (tmp_path / "saved").read_text() == "saved"
    assert "Traceback" not in err
    assert "saving" in err


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_second_signal_stops_at_once(tmp_path: Path, script: Any, number: int, code: int) -> None:
    running = script(LOOP, str(tmp_path / "saved"), "ignore")
    assert running.wait_for_line() == "ready"
    running.process.send_signal(signal.SIGINT)
    assert running.wait_for_line() == "noted"
    running.process.send_signal(number)
    ended, err = running.finish()
    assert ended == code
    assert not (tmp_path / "saved").exists()
    assert "Traceback" not in err


OUTSIDE = """
import pathlib, sys, time
from relic_rl.runtime.errors import run_door
def door():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        pathlib.Path(sys.argv[1]).write_text("cleaned")
sys.exit(run_door(door))
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_outside_of_the_loop_signals_end_the_door(tmp_path: Path, script: Any, number: int, code: int) -> None:
    running = script(OUTSIDE, str(tmp_path / "cleaned"))
    assert running.wait_for_line() == "ready"
    running.process.send_signal(number)
    ended, err = running.finish()
    assert ended == code
    assert (tmp_path / "cleaned").read_text() == "cleaned"
    assert err.count("\n") == 1
    assert err.startswith("error: ")


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    with Interrupts() as interrupts:
        assert [signal.getsignal(number) for number, _ in SIGNALS] != before
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.requested
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before
    assert interrupts.exit_code == 143
