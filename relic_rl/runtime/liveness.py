"""Which processes of a job are still there, by heartbeats in the store that torchrun keeps.

A process that dies shows in the next exchange with it, where its machine is still there to say so. One that is
stopped, or whose machine or network is gone, shows in nothing: the others would wait for it until a time-out of
half an hour. So every process counts up a number of its own in the store, from a thread, and looks at the others'.
Time is counted in looks, not read from a clock: a job that was suspended as a whole has lost nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from torch.distributed.distributed_c10d import Store

from relic_rl.runtime.errors import end_process, fit_line

INTERVAL = 0.5  # seconds between two heartbeats
PATIENCE = 30.0  # seconds of silence after which a process counts as lost
_SILENCE = 2.0  # seconds of silence that, once an exchange has failed, tell who is missing
_SEARCH = 6.0  # seconds to look for who that is
_GRACE = 7.0  # seconds for a process to end by itself once another is lost


class Peers:
    """The other processes of the job, under watch from when this is made until `close`.

    Args:
        rank: of this process.
        world_size: R.
        store: where all of them write; this object's own connection.
        on_loss: called with a message, from the watching thread, when a process or torchrun itself is lost; it is to
            end this process.
        interval: seconds between two heartbeats.
        patience: seconds of silence that are borne.

    Attributes:
        on_loss: see above; may be replaced.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        store: Store,
        on_loss: Callable[[str], None] = end_process,
        *,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
    ) -> None:
        self.on_loss = on_loss
        self._rank = rank
        self._world_size = world_size
        self._store = store
        self._interval = interval
        self._patience = patience
        self._parent = os.getppid()
        self._silent = [0] * world_size  # looks that found a process's number unchanged
        self._closed = threading.Event()
        self._store.set(f"beat/{rank}", "0")
        self._thread = threading.Thread(target=self._watch, name="heartbeats", daemon=True)
        self._thread.start()

    def close(self, reason: str | None = None) -> None:
        """Stop watching.

        Args:
            reason: why this process ends early, for the others; empty where that is another's fault, None where it
                does not.
        """
        if reason is not None:
            with contextlib.suppress(Exception):  # the store may be gone, and that is not what matters now
                self._store.set(f"ended/{self._rank}", fit_line(reason, 250))
        self._closed.set()
        self._thread.join(timeout=2 * self._interval)

    def explain(self) -> str:
        """Whose end it was that made an exchange fail, in words; waits a few seconds to find out."""
        deadline = time.monotonic() + _SEARCH
        while time.monotonic() < deadline:
            ended = self._ended()
            for rank, reason in ended.items():
                if reason:
                    return f"rank {rank} of {self._world_size} failed: {reason}"
            quiet = _SILENCE / self._interval
            gone = [rank for rank, looks in enumerate(self._silent) if looks >= quiet and rank not in ended]
            if gone:
                ranks = f"rank {gone[0]}" if len(gone) == 1 else f"ranks {', '.join(map(str, gone))}"
                return f"{ranks} of {self._world_size} died without a word"
            time.sleep(self._interval / 2)
        return "the connection to another process is gone"

    def _ended(self) -> dict[int, str]:
        """Why processes said that they end, by rank."""
        with contextlib.suppress(Exception):
            keys = {rank: f"ended/{rank}" for rank in range(self._world_size) if rank != self._rank}
            return {rank: self._store.get(key).decode() for rank, key in keys.items() if self._store.check([key])}
        return {}

    def _watch(self) -> None:
        keys = [f"beat/{rank}" for rank in range(self._world_size)]
        seen: list[bytes] = [b""] * self._world_size
        beats = 0
        while not self._closed.wait(self._interval):
            beats += 1
            try:
                self._store.set(keys[self._rank], str(beats))
                found = self._store.multi_get(keys)
            except Exception:  # whatever a store raises whose server is gone
                self._lose(
                    "torchrun's store does not answer any more: the machine of rank 0 is gone, or torchrun ended"
                )
                return
            self._silent = [
                looks + 1 if now == before else 0 for looks, now, before in zip(self._silent, found, seen, strict=True)
            ]
            seen = found
            if os.getppid() != self._parent:
                self._lose("torchrun, which started this process, is gone")
                return
            if max(self._silent) * self._interval >= self._patience:
                rank = self._silent.index(max(self._silent))
                self._lose(
                    f"rank {rank} of {self._world_size} has not been heard of for {self._patience:g} s: "
                    "it hangs, or its machine is gone"
                )
                return

    def _lose(self, message: str) -> None:
        """End the process, unless it is about to end by itself: that gives the better reason."""
        if not self._closed.wait(_GRACE):
            self.on_loss(message)
