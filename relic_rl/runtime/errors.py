"""How a door ends: one clear line on stderr and an exit code.

0 done; 1 failed while running; 2 bad input; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

MAX_LINE = 399  # bytes of a line on stderr, its newline left out
PREFIX = "error: "


class BadInput(ValueError):
    """The user asked for something impossible; the message says what is wrong and how to mend it. Exit code 2."""


class RunFailed(Exception):
    """The run could not go on (disk, non-finite numbers, a worker); the message says what is kept. Exit code 1."""


class Terminated(BaseException):
    """SIGTERM, as an exception, like KeyboardInterrupt for SIGINT. Exit code 143."""


def join_problems(problems: Iterable[str], limit: int = MAX_LINE - len(PREFIX)) -> str:
    """All problems in one line of at most ``limit`` bytes; those that do not fit are counted.

    Args:
        problems: one message each, at least one.
        limit: bytes (UTF-8), at least 100.
    """
    problems = list(dict.fromkeys(problems))
    line = ""
    for i, problem in enumerate(problems):
        rest = len(problems) - i
        more = f"; and {rest} more" if rest > 1 else ""
        room = limit - len(more.encode())
        grown = f"{line}; {problem}" if line else problem
        if line and len(grown.encode()) > room:
            return f"{line}; and {rest} more"
        line = fit_line(grown, room)
    return line


def fit_line(text: str, limit: int = MAX_LINE) -> str:
    """``text`` on one line, unprintable characters escaped, cut to ``limit`` bytes (UTF-8)."""
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "..."


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Within this block a ValueError is the user's: it becomes `BadInput`. For the assembly of a door's objects."""
    try:
        yield
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(str(error)) from error


def run_door(main: Callable[[], int | None]) -> int:
    """Run a door and turn how it ends into an exit code.

    Bad input and foreseeable failures (`RunFailed`, the operating system's, memory) are told in one line on stderr,
    without a traceback; SIGINT and SIGTERM outside of `relic_rl.runtime.interrupts.Interrupts` end it at once. Any
    other exception is a bug and passes through, with its traceback (Python's exit code for it is 1).

    Args:
        main: the door; what it returns is the exit code, None meaning 0.
    """
    try:
        with _sigterm_raises():
            return main() or 0
    except BadInput as error:
        return _report(str(error), 2)
    except RunFailed as error:
        return _report(str(error), 1)
    except KeyboardInterrupt:
        return _report("interrupted", 130)
    except Terminated:
        return _report("terminated", 143)
    except BrokenPipeError:
        # Whoever read our output is gone (`| head`). What is left in stdout's buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _report("the output's reader went away", 1)
    except OSError as error:
        return _report(describe_os_error(error), 1)
    except MemoryError:
        return _report("out of memory: lower the batch size or --num-envs", 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which must not be imported for this
            raise
        return _report("the device is out of memory: lower the batch size or --num-envs", 1)


def describe_os_error(error: OSError) -> str:
    """What failed and where, without Python's error number."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _report(message: str, code: int) -> int:
    # A closed stderr must not change the exit code.
    with contextlib.suppress(OSError, ValueError):
        print(fit_line(PREFIX + message), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM raises `Terminated` within this block, so that ``finally`` clauses run."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
