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
    many lent a hand, or when.

    Args:
        threads: CPU threads that torch gives a part that another thread computes; None leaves that thread's number.
            For the same numbers to the bit as in the thread that needs them, it must have as many.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._changed = threading.Condition()
        self._open: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def results(self, parts: Sequence[Callable[[], T]]) -> list[T]:
        """What the parts return, in their order.

        Raises:
            BaseException: what the first part to have failed, in their order, has raised.
        """
        tasks: list[tuple[Future[T], Callable[[], T]]] = [(Future(), part) for part in parts]
        with self._changed:
            self._open.extend(tasks)
            self._changed.notify_all()
        while self._take_one():
            pass
        return [future.result() for future, _ in tasks]

    def lend_a_hand(self, until: Future[Any]) -> None:
        """Compute parts as they come, until a future is done.

        Raises:
            BaseException: what is no error of a part, such as KeyboardInterrupt; the part has failed then.
        """
        if until.done():
            return
        until.add_done_callback(self._wake)
        own = torch.get_num_threads()
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            self._work(until)
        finally:
            torch.set_num_threads(own)

    def _work(self, until: Future[Any]) -> None:
        while not until.done():
            if not self._take_one():
                with section("waiting for learning"), self._changed:
                    self._changed.wait_for(lambda: self._open or until.done())

    def _take_one(self) -> bool:
        """Compute the part that has waited longest, if there is one."""
        with self._changed:
            if not self._open:
                return False
            future, part = self._open.popleft()
        try:
            future.set_result(part())
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        return True

    def _wake(self, _: Future[Any]) -> None:
        with self._changed:
            self._changed.notify_all()
