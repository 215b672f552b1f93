"""Reports of evaluations: a folder with ``result.json``, ``table.md`` and plots that appears whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from relic_rl.runtime.errors import BadInput, RunFailed
from relic_rl.runtime.files import write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULT, TABLE = "result.json", "table.md"
_MAX_BYTES = 1 << 28  # of a result.json that is read


class ReportFolder:
    """A place for a report, claimed before the work and filled after it.

    Until `publish` there is only a hidden folder beside the place, which leaving the context removes, with the
    folders above it that had to be made.

    Args:
        path: a folder that is new or empty; None takes the first free ``runs/DEFAULT-NUMBER``.
        default: name for the default path; characters unfit for a file name become dashes.

    Raises:
        BadInput: the place is taken, or nothing can be written there.
    """

    def __init__(self, path: str | Path | None, *, default: str) -> None:
        self.path = None if path is None else Path(path)
        self._stem = Path("runs") / (re.sub(r"[^\w.+-]+", "-", default).strip("-.") or "evaluation")
        self._made: list[Path] = []
        place = self._stem if self.path is None else self.path
        try:
            if self.path is not None:
                _refuse_taken(self.path)
            missing = [folder for folder in place.parents if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                self._made.insert(0, folder)
            # A short name of its own: the place's may be as long as names can be.
            self.partial = Path(tempfile.mkdtemp(prefix=".report-", dir=place.parent))
            os.chmod(self.partial, 0o777 & ~_umask())  # mkdtemp's are for the owner alone
            if self.path is not None:
                _refuse_name(self.path)
        except BadInput:
            self._clean_up()
            raise
        except OSError as error:
            self._clean_up()
            raise BadInput(f"--out {place}: {error.strerror}; choose another") from error

    def publish(self) -> Path:
        """Give the report its name; the folder.

        Raises:
            RunFailed: something else has taken the place meanwhile.
        """
        if self.path is not None:
            try:
                os.rename(self.partial, self.path)  # an empty folder is replaced
            except OSError as error:
                raise RunFailed(f"--out {self.path} was taken meanwhile: {error.strerror}") from error
            return self.path
        for number in itertools.count(1):
            path = Path(f"{self._stem}-{number}")
            if path.exists():
                continue
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                os.rename(self.partial, path)
                break
        return path

    def __enter__(self) -> Self:
        """Nothing more to do: making the object claimed the place."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not published."""
        self._clean_up()

    def _clean_up(self) -> None:
        if hasattr(self, "partial"):
            shutil.rmtree(self.partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in self._made:  # the innermost first; not empty: OSError
                folder.rmdir()


def write_report(
    folder: ReportFolder,
    result: Mapping[str, Any],
    *,
    table: str | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> Path:
    """Write everything and publish the folder.

    Args:
        folder: where.
        result: plain values for ``result.json``; numbers that are not finite become null. It has at least "kind",
            "name" and "metrics", numbers or None by name.
        table: Markdown; None for a table of the metrics.
        figures: by name, each becomes NAME.png; None for bars of the metrics.

    Returns:
        The folder.

    Raises:
        RunFailed: it cannot be written.
    """
    from relic_rl.evaluation.figures import metric_bars, save_figure  # noqa: PLC0415 (late: matplotlib)

    metrics, name = result["metrics"], result["name"]
    if table is None:
        rows = [[metric, show(value)] for metric, value in metrics.items()]
        table = markdown_table([result["kind"], name], rows)
    if figures is None:
        figures = {"metrics": metric_bars({name: {key: (value, None) for key, value in metrics.items()}})}
    try:
        write_json(folder.partial / RESULT, result)
        write_text(folder.partial / TABLE, table)
        for title, figure in figures.items():
            save_figure(figure, folder.partial / f"{title}.png")
        return folder.publish()
    except OSError as error:
        place = folder.path or "runs"
        raise RunFailed(f"the report cannot be written to {place}: {error.strerror or error}") from error


def read_result(folder: str | Path) -> dict[str, Any]:
    """The ``result.json`` of a report.

    Raises:
        ValueError: there is none, or it is no result of an evaluation.
    """
    path = Path(folder) / RESULT
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        found = json.loads(data) if len(data) <= _MAX_BYTES else None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: give the folder of a finished evaluation") from error
    except (ValueError, RecursionError):
        found = None
    sound = (
        isinstance(found, dict)
        and isinstance(found.get("kind"), str)
        and isinstance(found.get("name"), str)
        and isinstance(found.get("metrics"), dict)
        and isinstance(found.get("data"), dict)
        and isinstance(found.get("encoder"), dict)
        and all(value is None or type(value) in (int, float) for value in found["metrics"].values())
    )
    if not sound:
        raise ValueError(f"{path} is no result of relic_rl.evaluate: give the folder of a finished evaluation")
    assert isinstance(found, dict)
    return found


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned for whoever reads the text; the first column to the left."""
    cells = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}:" if i else "-" * width for i, width in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])]) + "\n"


def show(value: float | None, half_width: float | None = None) -> str:
    """A number for a table: four significant digits, with its interval if there is one; n/a where there is none."""
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:.4g}" if half_width is None else f"{value:.4g} ± {half_width:.2g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refuse_taken(path: Path) -> None:
    if path.is_dir():
        content = os.listdir(path)
        if content:
            what = "holds another result" if RESULT in content else "is not empty"
            raise BadInput(f"--out {path} {what}: choose another")
    elif path.exists() or path.is_symlink():
        raise BadInput(f"--out {path} is a file: give a folder")


def _refuse_name(path: Path) -> None:
    """Refuse a name that no folder can have, before the work rather than after it."""
    made = not path.exists()
    path.mkdir(exist_ok=True)
    if made:
        path.rmdir()
