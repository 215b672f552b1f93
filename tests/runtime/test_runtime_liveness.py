"""Who of several processes is still there, and how those of one attempt meet: all of them as threads of this one."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import TCPStore

from relic_rl.runtime import liveness
from relic_rl.runtime.liveness import Peers
from relic_rl.runtime.meeting import Meeting


@pytest.fixture
def server():
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def make(server, monkeypatch):
    """Makes a process's watch; it looks ten times a second, and its losses are listed."""
    monkeypatch.setattr(liveness, "_SILENCE", 0.4)
    monkeypatch.setattr(liveness, "_SEARCH", 1.0)
    monkeypatch.setattr(liveness, "_GRACE", 0.5)
    made = []

    def peers(rank, world_size=3, patience=60.0):
        lost = []
        store = TCPStore("127.0.0.1", server.port, is_master=False)
        made.append(Peers(rank, world_size, store, lost.append, interval=0.1, patience=patience))
        return made[-1], lost

    yield peers
    for each in made:
        each.close()


def vanish(peers):
    """Stop as a killed process does."""
    peers._closed.set()
    peers._thread.join()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_died_is_named(make):
    alive, lost = make(0)
    other, _ = make(1)
    dead, _ = make(2)
    vanish(dead)
    assert alive.explain() == "rank 2 of 3 died without a word"
    # One that ends because of that is no cause.
    other.close("")
    assert alive.explain() == "rank 2 of 3 died without a word"
    assert lost == []


def test_one_that_failed_gives_its_reason(make):
    alive, _ = make(0)
    failed, _ = make(1)
    felt_it, _ = make(2)
    felt_it.close("")
    failed.close("/runs/a: No space left on device")
    assert alive.explain() == "rank 1 of 3 failed: /runs/a: No space left on device"


def test_where_all_are_there_nobody_is_blamed(make):
    alive, _ = make(0, 2)
    make(1, 2)
    assert alive.explain() == "the connection to another process is gone"


def test_one_that_hangs_ends_the_others(make):
    _, lost = make(0, 2, patience=0.5)
    hangs, _ = make(1, 2)
    vanish(hangs)
    wait_for(lambda: lost)
    assert lost[0].startswith("rank 1 of 2 has not been heard of for 0.5 s")


def test_one_that_ends_by_itself_is_not_interrupted(make):
    """Its own reason is better than that of the watch."""
    ending, lost = make(0, 2, patience=0.5)
    hangs, _ = make(1, 2)
    vanish(hangs)
    wait_for(lambda: max(ending._silent) >= 5)
    ending.close("")
    time.sleep(1)
    assert lost == []


def test_torchrun_gone(make):
    peers, lost = make(0, 1)
    peers._parent = -1  # as if another had adopted this process
    wait_for(lambda: lost or not peers._thread.is_alive())
    assert lost == ["torchrun, which started this process, is gone"]


def test_an_attempt_meets_under_a_name_of_its_own(server, monkeypatch):
    for name, value in (("ADDR", "127.0.0.1"), ("PORT", str(server.port))):
        monkeypatch.setenv(f"MASTER_{name}", value)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    # What processes of an attempt before have left: a question that nobody answered, and one that was answered.
    server.set("relic_rl/question/1", "0123")
    server.set("relic_rl/question/2", "4567")
    server.set("relic_rl/answer/4567", "an attempt before")
    together = threading.Barrier(3)

    def meet(rank):
        with Meeting(rank, 3) as meeting:
            store = meeting.store("test")
            store.set(str(rank), "here")
            together.wait()
            wait_for(lambda: store.check([str(other) for other in range(3)]))  # set() does not wait for the server
            return meeting._name

    names = []
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            found = set(pool.map(meet, range(3)))
        assert len(found) == 1
        names += found
    assert len(set(names)) == 2
    assert "an attempt before" not in names
