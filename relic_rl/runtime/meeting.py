"""How the processes of one attempt find each other, and nobody from an attempt before.

torchrun starts all processes anew when one has died, and versions of torch differ in whether these get a fresh store or
meet the addresses that the dead ones left behind. Its count of restarts does not tell attempts apart on several
machines: each counts its own. So rank 0 names the attempt, and tells the name to each process that asks for it under
a number drawn for the occasion.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from collections.abc import Iterator

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_LOOK = 0.05  # seconds between two looks at the store
_PATIENCE = 300.0  # seconds to wait for rank 0: its machine may be slow to start


class Meeting:
    """Where the processes of this attempt meet; rank 0 answers those who come while the context is open.

    Args:
        rank: of this process.
        world_size: R.

    Raises:
        RuntimeError: rank 0, or torchrun's store, does not answer.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank = rank
        self._world_size = world_size
        self._over = threading.Event()
        self._name = secrets.token_hex(8)

    def __enter__(self) -> Meeting:
        """Learn the attempt's name, or begin to tell it."""
        if self._rank == 0:
            store = self._connect()
            threading.Thread(target=self._answer, args=(store,), name="meeting", daemon=True).start()
            return self
        store = self._connect()
        question = secrets.token_hex(8)
        store.set(f"relic_rl/question/{self._rank}", question)
        deadline = time.monotonic() + _PATIENCE
        while not store.check([f"relic_rl/answer/{question}"]):  # not wait(): no signal would get through
            if time.monotonic() > deadline:
                raise RuntimeError(f"Timed out: rank 0 has not answered for {_PATIENCE:g} s")
            time.sleep(_LOOK)
        self._name = store.get(f"relic_rl/answer/{question}").decode()
        return self

    def __exit__(self, *error: object) -> None:
        """All have come, or nobody will."""
        self._over.set()

    def store(self, purpose: str) -> Store:
        """A connection of its own to what this attempt keeps for a purpose."""
        return PrefixStore(f"relic_rl/{self._name}/{purpose}", self._connect())

    def _connect(self) -> Store:
        store: Store
        store, _, _ = next(rendezvous("env://", self._rank, self._world_size))
        return store

    def _answer(self, store: Store) -> None:
        answered: set[bytes] = set()
        with contextlib.suppress(Exception):  # a store that is gone: the other thread meets with that too
            while not self._over.wait(_LOOK):
                for rank in range(1, self._world_size):
                    key = f"relic_rl/question/{rank}"
                    if store.check([key]) and (question := store.get(key)) not in answered:
                        answered.add(question)
                        store.set(f"relic_rl/answer/{question.decode()}", self._name)


@contextlib.contextmanager
def mortal() -> Iterator[None]:
    """Within this block SIGTERM ends the process at once: nothing is to be saved yet, and no handler would be called
    while torch waits for other processes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
