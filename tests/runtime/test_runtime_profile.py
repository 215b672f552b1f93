"""Sections of a profile: nesting, threads, the table, the window of a training loop."""

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from relic_rl.runtime.profile import Profile, ProfileWindow, Row, Span, section, summarize_spans


def test_inner_time_is_counted_once() -> None:
    spans = [
        Span("update", 1, 0, 10_000, 7_000),
        Span("encoder", 1, 1_000, 4_000, 5_000),
        Span("convolution", 1, 1_500, 2_000, 1_000),
        Span("encoder", 1, 4_000, 6_000, 0),  # begins as the other ends
        Span("encoder", 2, 1_000, 2_000, 0),  # on another thread: in nothing
        Span("update", 1, 10_000, 11_000, 0),
    ]
    assert summarize_spans(spans[::-1]) == [
        Row("update", 2, 6.0, 2.0),
        Row("update / encoder", 2, 4.5, 4.0),
        Row("encoder", 1, 1.0, 0.0),
        Row("update / encoder / convolution", 1, 0.5, 1.0),
    ]


@section("inner")
def nap(seconds: float) -> None:
    time.sleep(seconds)


def test_sections_are_timed() -> None:
    nap(0)  # outside of a profile: nothing happens
    before = ThreadPoolExecutor(1)
    before.submit(nap, 0).result()
    with before, Profile() as profile:
        with section("outer"):
            nap(0.02)
            nap(0.02)
            time.sleep(0.03)
        thread = threading.Thread(target=nap, args=(0.01,))
        thread.start()
        before.submit(nap, 0.01).result()
        thread.join()
        time.sleep(0.02)
        torch.ones(10).sum()
    rows = {row.path: row for row in profile.rows}
    assert rows.keys() == {"outer", "outer / inner", "inner"}
    assert rows["inner"].calls == 2  # of threads begun before and after the window
    assert 1e3 * profile.outside >= 30
    assert 1e3 * (profile.seconds - profile.outside) == pytest.approx(
        rows["outer"].milliseconds + rows["outer / inner"].milliseconds, abs=0.1
    )
    assert rows["outer / inner"].calls == 2
    assert rows["outer / inner"].milliseconds >= 40
    assert rows["outer"].milliseconds >= 30
    assert profile.seconds * 1e3 >= rows["outer"].milliseconds + rows["outer / inner"].milliseconds
    table = profile.table(2, "nap")
    assert "ms per nap" in table
    assert f"| outer / inner | 2 | {rows['outer / inner'].milliseconds / 2:.2f} |" in table
    assert f"| everything else | 1 | {1e3 * profile.outside / 2:.2f} |" in table


def test_an_exception_passes_through() -> None:
    with pytest.raises(KeyError), Profile() as profile, section("outer"):
        raise KeyError
    assert profile.rows == []


def test_window_that_is_still_open_can_be_closed(tmp_path: Path) -> None:
    window = ProfileWindow(tmp_path, warm_up=1)
    assert window.close(0) is None
    window.after_step(True, 1)
    with section("step"):
        pass
    assert "| step | 1 |" in (window.close(3) or "")
    assert window.close(3) is None
    assert window.after_step(True, 9) is None


def test_window_opens_when_warm_and_closes_once(tmp_path: Path) -> None:
    window = ProfileWindow(tmp_path / "profile", warm_up=2, seconds=0.0, calls=3)
    tables = []
    for updates in range(0, 40, 4):
        with section("step"):
            time.sleep(0.001)
        tables.append(window.after_step(False, updates))
        tables.append(window.after_step(True, updates))
    (table,) = [t for t in tables if t is not None]
    assert tables.index(table) == 2 * 4 + 1  # two calls to warm up, three in the window
    assert table.startswith("12 updates in ")
    assert "| step | 3 |" in table
    assert (tmp_path / "profile" / "profile.md").read_text() == table
    events = json.loads(gzip.decompress((tmp_path / "profile" / "trace.json.gz").read_bytes()))["traceEvents"]
    assert sum(event.get("name") == "relic_rl: step" for event in events) == 3
