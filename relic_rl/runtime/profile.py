"""Where the time goes: named sections of the program, timed by torch's profiler over a short window of training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, record_function

from relic_rl.runtime.files import write_text

_PREFIX = "relic_rl: "


@contextlib.contextmanager
def section(name: str) -> Iterator[None]:
    """A named part of the program; a context or a decorator. Without a profiler it costs a few microseconds."""
    with record_function(_PREFIX + name):
        yield


class Span(NamedTuple):
    """A section that was passed through once."""

    name: str
    thread: int
    start: float  # microseconds
    end: float
    device: float  # microseconds of kernels that it started, inner sections included; 0 without a GPU


class Row(NamedTuple):
    """A section of a profile, all its calls together."""

    path: str  # its name behind those of the sections it lies in
    calls: int
    milliseconds: float  # in itself, inner sections left out
    device_milliseconds: float  # of kernels started in it, inner sections left out


class Profile:
    """Profiles what runs within this context, in all threads.

    Attributes:
        rows: the sections, most expensive first, once the context is closed.
        seconds: the window's length by the clock, the same.
        outside: of these, those that this thread spent in no section.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seconds = self.outside = 0.0
        self._cuda = torch.cuda.is_available()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        every_thread = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)  # those begun before, too
        self._profiler = torch.profiler.profile(activities=activities, experimental_config=every_thread)

    def __enter__(self) -> Self:
        """Start."""
        self._profiler.__enter__()  # type: ignore[no-untyped-call]
        self._window = record_function("window")
        self._window.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and sum up."""
        self._window.__exit__(kind, error, trace)
        self._profiler.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if error is None:
            spans, thread = [], 0
            events: EventList = self._profiler.events()  # type: ignore[no-untyped-call]
            for event in events:
                if event.device_type.name != "CPU":
                    continue
                if event.name == "window":
                    self.seconds, thread = event.time_range.elapsed_us() / 1e6, event.thread
                elif event.name.startswith(_PREFIX):
                    spans.append(_span(event))
            self.rows = summarize_spans(spans)
            own = summarize_spans([span for span in spans if span.thread == thread])
            self.outside = max(0.0, self.seconds - sum(row.milliseconds for row in own) / 1e3)

    def table(self, per: int = 1, unit: str = "window") -> str:
        """Markdown: milliseconds of each section, in itself, and its share of the window.

        Of threads side by side, shares add up to more than 100 %; "everything else" is that of the thread which opened
        the window.

        Args:
            per: divide by this number (of updates, say).
            unit: what there were so many of.
        """
        head = f"| section | calls | ms per {unit} | share |" + (" ms of GPU |" if self._cuda else "")
        lines = [head, "|---|---|---|---|" + ("---|" if self._cuda else "")]
        for row in [*self.rows, Row("everything else", 1, self.outside * 1e3, 0.0)]:
            line = f"| {row.path} | {row.calls} | {row.milliseconds / per:.2f} "
            line += f"| {row.milliseconds / self.seconds / 10:.1f} % |"
            lines.append(line + (f" {row.device_milliseconds / per:.2f} |" if self._cuda else ""))
        return "\n".join(lines) + "\n"

    def write_trace(self, path: Path) -> None:
        """Write the window as a trace for chrome://tracing or Perfetto; ``.gz`` compresses it.

        Raises:
            OSError: unwritable.
        """
        self._profiler.export_chrome_trace(str(path))


class ProfileWindow:
    """Profiles a training loop for a while, once it is warm, and leaves ``profile.md`` and ``trace.json.gz``.

    Args:
        directory: where they are written.
        warm_up: calls of `after_step` that brought updates before the window opens.
        seconds: its least length.
        calls: the least number of calls with updates in it.
    """

    def __init__(self, directory: Path, *, warm_up: int = 2, seconds: float = 2.0, calls: int = 3) -> None:
        self._directory = directory
        self._warm_up = warm_up
        self._seconds = seconds
        self._calls = calls
        self._seen = 0
        self._opened_at = 0.0
        self._updates = 0
        self._profile: Profile | None = None
        self.done = False

    def after_step(self, learned: bool, updates: int) -> str | None:
        """To be called after every step of the loop.

        Args:
            learned: whether this step took in updates.
            updates: how many there have been in all.

        Returns:
            The table, when the window closes.

        Raises:
            OSError: the files cannot be written.
        """
        if self.done or not learned:
            return None
        self._seen += 1
        if self._profile is None:
            if self._seen >= self._warm_up:
                self._profile, self._seen, self._updates = Profile(), 0, updates
                self._opened_at = time.monotonic()
                self._profile.__enter__()
            return None
        if self._seen < self._calls or time.monotonic() - self._opened_at < self._seconds:
            return None
        return self.close(updates)

    def close(self, updates: int) -> str | None:
        """Close the window, if it is open, and write the files; the table.

        Raises:
            OSError: as for `after_step`.
        """
        if self._profile is None:
            return None
        self.done = True
        self._profile.__exit__(None, None, None)
        count = max(1, updates - self._updates)
        table = self._profile.table(count, "update")
        head = f"{count} updates in {self._profile.seconds:.2f} s, the profiler's own time included.\n\n"
        self._directory.mkdir(parents=True, exist_ok=True)
        write_text(self._directory / "profile.md", head + table)
        self._profile.write_trace(self._directory / "trace.json.gz")
        self._profile = None
        return head + table


def summarize_spans(spans: list[Span]) -> list[Row]:
    """Sections by path; the time of inner sections counts as theirs alone.

    Args:
        spans: within a thread they are nested or apart.
    """
    sums: dict[str, list[float]] = {}
    opened: dict[int, list[tuple[Span, str]]] = {}
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        outer = opened.setdefault(span.thread, [])
        while outer and outer[-1][0].end <= span.start:
            outer.pop()
        path = f"{outer[-1][1]} / {span.name}" if outer else span.name
        if outer:
            around = sums[outer[-1][1]]
            around[1] -= span.end - span.start
            around[2] -= span.device
        own = sums.setdefault(path, [0, 0.0, 0.0])
        own[0] += 1
        own[1] += span.end - span.start
        own[2] += span.device
        outer.append((span, path))
    rows = [Row(path, int(calls), time / 1e3, device / 1e3) for path, (calls, time, device) in sums.items()]
    return sorted(rows, key=lambda row: -row.milliseconds)


def _span(event: Any) -> Span:
    return Span(
        event.name.removeprefix(_PREFIX),
        event.thread,
        event.time_range.start,
        event.time_range.end,
        event.device_time_total,
    )
