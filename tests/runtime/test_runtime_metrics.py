"""progress.csv, TensorBoard events, progress lines and learning curves."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from relic_rl.runtime.metrics import COLUMNS, MetricLogger, read_progress
from relic_rl.runtime.plots import plot_curves
from relic_rl.runtime.progress import Progress


class Clock:
    """Time that stands still unless told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(logger: MetricLogger, step: int, mean_return: float = 1.0) -> None:
    logger.write(step, mean_return=mean_return, num_games=step // 10, updates=step // 5)


def table(run_dir: Path) -> list[list[str]]:
    return list(csv.reader((run_dir / "progress.csv").open()))


def test_rows(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, frame_skip=4, clock=clock)
    logger.add({"loss/policy": 1.0, "aux": 5.0})
    logger.add({"loss/policy": 2.0, "aux": math.nan})
    clock.now += 20
    logger.write(4096, mean_return=-20.5, num_games=3, updates=16)
    clock.now += 10
    with logger.pause():
        clock.now += 1000  # evaluation
    logger.add({"loss/policy": 7.0, "aux": 1.0})
    logger.write(8192, mean_return=math.nan, num_games=4, updates=32)
    assert table(tmp_path) == [
        [*COLUMNS, "loss/policy", "aux"],
        ["4096", "16384", "20", "204.8", "-20.5", "3", "16", "1.5", "5"],
        ["8192", "32768", "30", "409.6", "nan", "4", "32", "7", "1"],
    ]
    assert logger.seconds == 30


def test_columns_contract() -> None:
    assert COLUMNS == ("step", "frames", "seconds", "steps_per_second", "mean_return", "num_games", "updates")


def test_due_when_both_have_gone_by(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    clock.now += 10
    assert not logger.due(2047)
    assert logger.due(2048)
    write(logger, 2048)
    assert not logger.due(2048 + 10**6)
    clock.now += 9.9
    assert not logger.due(2048 + 10**6)
    with logger.pause():
        clock.now += 5
    assert not logger.due(2048 + 10**6)
    clock.now += 0.2
    assert logger.due(2048 + 2048)
    assert not logger.due(2048 + 2047)


def test_the_last_row_is_not_doubled(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    clock.now += 1
    write(logger, 100)
    assert logger.write(100, mean_return=2.0, num_games=1, updates=1) is None
    assert len(table(tmp_path)) == 2


def test_late_columns(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    clock.now += 1
    write(logger, 10)
    logger.add({"aux/loss": 0.25})
    clock.now += 1
    write(logger, 20)
    clock.now += 1
    write(logger, 30)
    rows = table(tmp_path)
    assert rows[0] == [*COLUMNS, "aux/loss"]
    assert [row[-1] for row in rows[1:]] == ["nan", "0.25", "nan"]
    assert {len(row) for row in rows} == {8}


def test_resume_goes_on_from_the_checkpoint(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    for step in (100, 200, 300, 400):
        clock.now += 10
        logger.add({"loss": float(step)})
        write(logger, step)
    logger.close()
    with (tmp_path / "progress.csv").open("a") as file:
        file.write("290,290,29,10,1,29,58,12")  # killed while writing 1234
    clock.now += 500
    resumed = MetricLogger(tmp_path, clock=clock, step=300, seconds=30.5)
    assert resumed.seconds == 30.5
    clock.now += 2
    resumed.add({"loss": 7.0})
    write(resumed, 350)
    resumed.close()
    rows = read_progress(tmp_path / "progress.csv")
    assert [row["step"] for row in rows] == [100, 200, 300, 350]
    assert [row["seconds"] for row in rows] == [10, 20, 30, 32.5]
    assert rows[-1]["steps_per_second"] == 25
    assert [row["loss"] for row in rows] == [100, 200, 300, 7]
    assert [e.step for e in scalars(tmp_path, "loss")] == [100, 200, 300, 350]


def test_a_fresh_start_forgets_old_rows(tmp_path: Path, clock: Clock) -> None:
    clock.now += 1
    write(MetricLogger(tmp_path, clock=Clock()), 100)
    logger = MetricLogger(tmp_path, clock=clock)
    assert table(tmp_path) == [list(COLUMNS)]
    write(logger, 50)
    logger.close()
    assert [e.step for e in scalars(tmp_path, "updates")] == [50]


def test_rows_of_another_length_are_left_out(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "progress.csv"
    path.write_text("step,frames,seconds\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n\nx,1,2\n")
    assert read_progress(path) == [
        {"step": 1.0, "frames": 2.0, "seconds": 3.0},
        {"step": 10.0, "frames": 11.0, "seconds": 12.0},
    ]


@pytest.mark.parametrize("content", [b"\xff\x00\n\xfe,\n", b"a,b\n1,2\n", b"\n\n", b'a,"\n' + b"x" * 200_000 + b"\n"])
def test_a_table_of_something_else_is_begun_anew(content: bytes, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "progress.csv").write_bytes(content)
    logger = MetricLogger(tmp_path, clock=clock, step=5)
    write(logger, 10)
    logger.close()
    assert [row["step"] for row in read_progress(tmp_path / "progress.csv")] == [10]


def test_a_table_deleted_under_way_is_noticed(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    (tmp_path / "progress.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"progress\.csv"):
        write(logger, 10)
    logger.close()


def scalars(run_dir: Path, tag: str) -> list[Any]:
    events = EventAccumulator(str(run_dir))
    events.Reload()
    return list(events.Scalars(tag))


def test_tensorboard_reads_the_events(tmp_path: Path, clock: Clock) -> None:
    logger = MetricLogger(tmp_path, clock=clock)
    for step in (10, 20):
        logger.add({"loss/policy": step / 4})
        clock.now += 1
        write(logger, step, mean_return=step / 2)
    # a row can be seen before the logger is closed
    assert [(e.step, e.value) for e in scalars(tmp_path, "loss/policy")] == [(10, 2.5), (20, 5.0)]
    assert [(e.step, e.value) for e in scalars(tmp_path, "mean_return")] == [(10, 5.0), (20, 10.0)]


def test_a_full_disk_is_an_error_here_and_now(small_disk: Path, clock: Clock) -> None:
    logger = MetricLogger(small_disk, clock=clock)

    def fill() -> None:
        for step in range(1, 5_000):
            clock.now += 1
            logger.add({f"metric {i}": 1 / 3 for i in range(20)})
            write(logger, step)

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert len(table(small_disk)) > 100


# --------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(100_000, frame_skip=4, every=10, file=out, clock=clock) as progress:
        progress.update(0, 0, mean_return=math.nan, num_games=0, metrics={})
        for step in range(1000, 5000, 1000):
            clock.now += 4
            metrics = {"loss/policy": 0.12345, "gradient_norm": 3.0}
            progress.update(step, step / 250, mean_return=-3.25, num_games=1234, metrics=metrics)
        progress.note("saved")
        progress.update(4001, 12.1, mean_return=1, num_games=1, metrics={}, final=True)
    first, line, note, last = out.getvalue().splitlines()
    assert first == "0/100,000 steps (0.0%)  0 frames  no game finished yet"
    assert line == (
        "3,000/100,000 steps (3.0%)  12,000 frames  250 steps/s  0:06:28 left  return -3.25 (1,234 games)  "
        "loss/policy 0.123"
    )
    assert note == "saved"
    assert last.startswith("4,001/100,000 steps (4.0%)  16,004 frames  10,010 steps/s  0:00:10 left")


def test_live_line(clock: Clock) -> None:
    out = Terminal()
    with Progress(1000, file=out, clock=clock) as progress:
        for step in range(0, 500, 10):
            clock.now += 0.1
            progress.update(step, step / 100, mean_return=2.5, num_games=3, metrics={})
        progress.note("[saved]")
    text = out.getvalue()
    assert "480/1,000 steps" in text
    assert "100 steps/s" in text
    assert "[saved]" in text
    assert 15 <= text.count("/1,000 steps") <= 20  # one in three, and the last again below the note


# ----------------------------------------------------------------------- curves


def make_run(path: Path, offset: float) -> Path:
    path.mkdir()
    clock = Clock()
    logger = MetricLogger(path, clock=clock)
    for step in range(1000, 6000, 1000):
        clock.now += 60
        write(logger, step, mean_return=math.nan if step == 1000 else step / 100 + offset)
    logger.close()
    return path / "progress.csv"


def test_plot_curves(tmp_path: Path) -> None:
    curves = {
        "relic": [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 5)],
        "none": [make_run(tmp_path / "c", -9)],
    }
    out = tmp_path / "curves.png"
    plot_curves(curves, out, title="Pong", lines={"human": 14.6})
    image = out.read_bytes()
    assert image.startswith(b"\x89PNG")
    plot_curves(curves, out, title="Pong", lines={"human": 14.6})
    assert out.read_bytes() == image
    plot_curves(curves, out, title="Pong")
    assert out.read_bytes() != image


def test_plot_shows_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[list[float], list[float]]] = []
    plain = Axes.plot

    def spy(self: Axes, x: Any, y: Any, **kwargs: Any) -> Any:
        drawn.append((list(x), list(y)))
        return plain(self, x, y, **kwargs)

    monkeypatch.setattr(Axes, "plot", spy)
    plot_curves({"a": [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 5)]}, tmp_path / "x.png")
    returns = [20, 30, 40, 50]
    assert drawn[0] == ([2000, 3000, 4000, 5000], returns)
    assert drawn[1] == ([2000, 3000, 4000, 5000], [r + 5 for r in returns])
    grid, mean = drawn[2]
    assert (grid[0], grid[-1]) == (2000, 5000)
    assert mean == pytest.approx([x / 100 + 2.5 for x in grid])
    assert drawn[3] == ([2, 3, 4, 5], returns)


def test_plot_without_games(tmp_path: Path) -> None:
    MetricLogger(tmp_path)
    with pytest.raises(ValueError, match="no curve to draw"):
        plot_curves({"a": [tmp_path / "progress.csv"]}, tmp_path / "x.png")
