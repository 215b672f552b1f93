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

MAX_LINE = 398  # bytes of a line on stderr, its newline left out
PREFIX = "error: "
_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "_ALLOC_FAILED",
    "size calculation overflow",
    "multiplication overflow",
)
"""What torch says where it raises a plain RuntimeError for want of memory, or for a size beyond any."""


class BadInput(ValueError):
    """The user's mistake; the message says what is wrong and how to mend it. Exit code 2."""


class RunFailed(Exception):
    """The run cannot go on (disk, non-finite numbers, a worker); the message says so. Exit code 1."""


class Terminated(BaseException):
    """SIGTERM, as an exception, like KeyboardInterrupt for SIGINT. Exit code 143."""


def join_problems(problems: Iterable[str], limit: int = MAX_LINE - len(PREFIX)) -> str:
    """All problems in one line of at most ``limit`` bytes; those that do not fit are counted.

    Args:
        problems: one message each, at least one.
        limit: bytes (UTF-8), at least 100.
    """
    problems = list(dict.fromkeys(problems))
    line = "; ".join(problems)
    if len(line.encode(errors="replace")) <= limit:
        return fit_line(line, limit)
    line = ""
    for i, problem in enumerate(problems):
        rest = len(problems) - i
        more = f"; and {rest} more" if rest > 1 else ""
        room = limit - len(more)
        grown = f"{line}; {problem}" if line else problem
        if line and len(grown.encode()) > room:
            return f"{line}; and {rest} more"
        line = fit_line(grown, room)
    return line


def fit_line(text: str, limit: int = MAX_LINE) -> str:
    """``text`` on one line, unprintable characters escaped, cut to ``limit`` bytes (UTF-8).

    Where it does not fit, very long words (a path, what somebody typed) give way first: they hide what is said
    about them.
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) > limit:
        short = (word if len(word) <= 100 else f"{word[:48]}...{word[-48:]}" for word in text.split())
        encoded = " ".join(short).encode(errors="backslashreplace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "..."


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn a ValueError into `BadInput`: for the block where a door assembles what the user asked for."""
    try:
        yield
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(str(error)) from error


def run_door(main: Callable[[], int | None]) -> int:
    """Run a door and turn how it ends into an exit code.

    Bad input and foreseeable failures (`RunFailed`, the operating system's, memory) are told in one line on
    stderr, without a traceback; SIGINT and SIGTERM outside of `relic_rl.runtime.interrupts.Interrupts` end
    it at once. Any other exception is a bug and passes through, with its traceback (Python's exit code for
    it is 1).

    Args:
        main: the door; what it returns is the exit code, None meaning 0.
    """
    signals: list[BaseException] = []
    try:
        with _signals_raise(signals):
            return main() or 0
    except BaseException as error:
        # Raised within an import, an interrupt may come out as whatever the half-made module then stumbles over.
        code, message = _ending(signals[0] if signals else error)
        if code is None:
            raise
        # Output that nobody takes any more (`| head`, a full disk) must not change the exit code, nor fail
        # again when Python exits and flushes.
        for stream, text in ((sys.stdout, ""), (sys.stderr, fit_line(PREFIX + message) + "\n")):
            try:
                print(text, end="", file=stream, flush=True)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return code


def _ending(error: BaseException) -> tuple[int | None, str]:
    """Exit code and message of an exception; the code of a bug is None."""
    match error:
        case BadInput():
            return 2, str(error)
        case KeyboardInterrupt():
            return 130, "interrupted"
        case Terminated():
            return 143, "terminated"
    return (1, describe_failure(error)) if is_foreseeable(error) else (None, "")


def describe_end(error: BaseException) -> str:
    """How a process ends with this exception, in one line of whatever length."""
    return _ending(error)[1] or f"{type(error).__name__}: {error}"


def end_process(message: str) -> None:
    """Write the line and end the process with exit code 1, whatever its other threads do."""
    with contextlib.suppress(OSError):
        os.write(2, (fit_line(PREFIX + message) + "\n").encode())
    os._exit(1)


def is_foreseeable(error: BaseException) -> bool:
    """Whether a run may fail so without a bug: the operating system, memory, or as told by `RunFailed`."""
    return isinstance(error, RunFailed | OSError) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the machine or on the device."""
    # torch's own error goes by its name, since torch must not be imported for this.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def describe_failure(error: BaseException) -> str:
    """A foreseeable failure in words, without Python's error number."""
    if isinstance(error, BrokenPipeError):
        return "whoever read the output is gone"
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, RunFailed):
        return str(error)
    return "out of memory: lower the batch size or --num-envs"


@contextlib.contextmanager
def memory_errors(remedy: str, kind: type[BadInput | RunFailed]) -> Iterator[None]:
    """Say what to do when memory runs out in this block.

    Args:
        remedy: the options to change, such as "lower --num-envs".
        kind: `BadInput` while a door assembles what the user asked for, `RunFailed` later.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise kind(f"out of memory: {remedy}") from error


@contextlib.contextmanager
def _signals_raise(raised: list[BaseException]) -> Iterator[None]:
    """SIGINT and SIGTERM raise within this block, so that ``finally`` clauses run; ``raised`` gets what they raised."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raised.append(KeyboardInterrupt() if signum == signal.SIGINT else Terminated())
        raise raised[-1]

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
