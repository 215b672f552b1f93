"""A computation in parts: whoever has nothing else to do works on them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from relic_rl.runtime.profile import section

T = TypeVar("T")


class SharedWork:
    """Parts that are computed by the thread that needs their results, and by others that lend a hand.

    Each part is computed from first to last by one thread, whichever comes first, so the results do not depend on how
    many lent a hand, or when. What a thread that lent one leaves undone, since it was interrupted, is computed anew.

    Args:
        threads: CPU threads that torch gives a part that another thread computes; None leaves that thread's number.
            For the same numbers to the bit as in the thread that needs them, it must have as many.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._changed = threading.Condition()
        self._open: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._helpers: set[int] = set()

    def results(self, parts: Sequence[Callable[[], T]]) -> list[T]:
        """What the parts return, in their order; for one thread at a time.

        Raises:
            Exception: what the first part to have failed, in their order, has raised; none is under way then.
        """
        tasks: list[tuple[Future[T], Callable[[], T]]] = [(Future(), part) for part in parts]
        with self._changed:
            self._open.extend(tasks)
            self._changed.notify_all()
        try:
            while self._take_one():
                pass
        finally:
            self._open.clear()
        with self._changed:
            self._changed.wait_for(lambda: not self._helpers or all(future.done() for future, _ in tasks))
        for task in tasks:
            if not task[0].done():
                _compute(*task)
        return [future.result() for future, _ in tasks]

    @section("helping")
    def lend_a_hand(self, until: Future[Any]) -> None:
        """Compute parts as they come, until a future is done.

        Raises:
            BaseException: what is no error of a part, such as KeyboardInterrupt; the part is left to the others.
        """
        if until.done():
            return
        until.add_done_callback(self._wake)
        own = torch.get_num_threads()
        try:
            self._helpers.add(threading.get_ident())
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            # As in a thread of its own, gradients enabled, whatever this one was about.
            with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
                self._work(until)
        finally:
            self._helpers.discard(threading.get_ident())
            self._wake(until)
            torch.set_num_threads(own)

    def _work(self, until: Future[Any]) -> None:
        while not until.done():
            if not self._take_one():
                with section("waiting"), self._changed:
                    self._changed.wait_for(lambda: self._open or until.done())

    def _take_one(self) -> bool:
        """Compute the part that has waited longest, if there is one."""
        with self._changed:
            if not self._open:
                return False
            task = self._open.popleft()
        _compute(*task)
        with self._changed:
            self._changed.notify_all()
        return True

    def _wake(self, _: Future[Any]) -> None:
        with self._changed:
            self._changed.notify_all()


def _compute(future: Future[T], part: Callable[[], T]) -> None:
    try:
        result = part()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
