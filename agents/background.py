"""Rounds of updates on a thread of their own, while the environments go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from agents.shared_work import SharedWork

In = TypeVar("In")
Out = TypeVar("Out")


class BackgroundRounds(Generic[In, Out]):
    """Works on one round at a time; on a GPU in a stream of its own, beside whatever the caller computes.

    What a round starts from and when its results are taken in is up to the caller, so the outcome does not
    depend on which of the two is faster.

    Args:
        work: from one input to one output. The output must be on the CPU: memory of one GPU stream must not be
            freed while another reads it.
        device: where ``work`` computes.
        threads: CPU threads that torch gives ``work``; None leaves the number of the process.
        shared: what ``work`` lets others compute parts of; who waits for a round lends it a hand.
    """

    def __init__(
        self,
        work: Callable[[In], Out],
        device: torch.device,
        threads: int | None = None,
        shared: SharedWork | None = None,
    ) -> None:
        self._work = work
        self._shared = shared
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._threads = threads
        self._pool = ThreadPoolExecutor(1, "learner", initializer=self._begin)
        self._round: Future[list[Out]] | None = None

    def submit(self, inputs: Sequence[In]) -> None:
        """Start a round; the one before must have been collected."""
        assert self._round is None
        if self._stream is not None:
            self._stream.wait_stream(
                torch.cuda.current_stream(self._stream.device)
            )  # the caller's writes to what the round reads
        self._round = self._pool.submit(self._run, list(inputs))

    def wait(self) -> list[Out]:
        """The outputs of the round under way, once it is done; nothing if there is none.

        Raises:
            Exception: whatever ``work`` raised.
        """
        if self._round is None:
            return []
        if self._shared is not None:
            self._shared.lend_a_hand(self._round)
        return self._round.result()

    def collect(self) -> list[Out]:
        """`wait`, and the round is over: what it wrote may be read."""
        outputs = self.wait()
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
        self._round = None
        return outputs

    def restore(self, outputs: Sequence[Out]) -> None:
        """Take the outputs of a round that an earlier process worked on."""
        self._round = Future()
        self._round.set_result(list(outputs))

    def _begin(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # of this thread alone, once another one has computed with its own

    def _run(self, inputs: list[In]) -> list[Out]:
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            return [self._work(each) for each in inputs]
