"""TensorBoard event files, written in this thread.

``torch.utils.tensorboard`` writes from a thread of its own, which a full disk ends with a traceback on
stderr, and the run learns of it later or never. Rows are rare here: writing them directly costs nothing, and
fails where it can be told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]


class EventFile:
    """One event file of scalars.

    Args:
        directory: gets a new file ``events.out.tfevents.*``.
        purge_step: TensorBoard is to forget what earlier files say from this step on (a resumed run's
            repeated steps).

    Raises:
        OSError: disk full or unwritable.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        number = 0
        while (path := directory / f"events.out.tfevents.{int(time.time())}.{number}").exists():
            number += 1
        self._file = path.open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the values of one step and hand them to the operating system.

        Raises:
            OSError: disk full or unwritable.
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
