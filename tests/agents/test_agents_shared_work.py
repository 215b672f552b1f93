"""Parts of a computation, taken by whoever is free."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from agents.shared_work import SharedWork

TIMEOUT = 20  # seconds; only a test that fails waits so long


def name_of_thread():
    return threading.current_thread().name


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1, "learner") as executor:
        yield executor


def test_results_in_order_without_help():
    work = SharedWork()
    order = []
    parts = [lambda k=k: order.append(k) or (k, name_of_thread()) for k in range(4)]
    assert work.results(parts) == [(k, name_of_thread()) for k in range(4)]
    assert order == [0, 1, 2, 3]
    assert work.results([]) == []


def test_who_waits_lends_a_hand(pool):
    """Neither part comes to its end before the other has begun."""
    work, both = SharedWork(), threading.Barrier(2)

    def part():
        both.wait(TIMEOUT)
        return name_of_thread()

    def learn():
        return [sorted(work.results([part, part])) for _ in range(3)]

    learned = pool.submit(learn)
    work.lend_a_hand(learned)
    assert learned.done()
    assert learned.result() == [[name_of_thread(), "learner_0"]] * 3


def test_help_ends_with_what_it_waits_for(pool):
    work, go = SharedWork(), threading.Event()
    nothing_to_do = pool.submit(go.wait, TIMEOUT)
    threading.Timer(0.05, go.set).start()
    work.lend_a_hand(nothing_to_do)
    assert nothing_to_do.done()
    done = Future()
    done.set_result(None)
    work.lend_a_hand(done)


def test_part_that_comes_late_is_helped_with(pool):
    """The helper already waits when there is something to do."""
    work, both = SharedWork(), threading.Barrier(2)
    sleeping = threading.Event()
    wait_for = work._changed.wait_for
    work._changed.wait_for = lambda predicate: sleeping.set() or wait_for(predicate)

    def learn():
        assert sleeping.wait(TIMEOUT)
        return work.results([lambda: both.wait(TIMEOUT), lambda: both.wait(TIMEOUT)])

    learned = pool.submit(learn)
    work.lend_a_hand(learned)
    assert sorted(learned.result()) == [0, 1]


def test_failed_part_is_raised_where_results_are_needed(pool):
    work, both = SharedWork(), threading.Barrier(2)
    where = []

    def part(fails):
        both.wait(TIMEOUT)
        if fails == (name_of_thread() == "learner_0"):
            return "computed"
        where.append(name_of_thread())
        raise ValueError("no")

    for fails in (True, False):
        learned = pool.submit(lambda fails=fails: work.results([lambda: part(fails)] * 2))
        work.lend_a_hand(learned)
        with pytest.raises(ValueError, match="no"):
            learned.result()
    assert where == [name_of_thread(), "learner_0"]


def test_interrupted_helper_leaves_nobody_waiting(pool):
    work, both = SharedWork(), threading.Barrier(2)

    def part():
        both.wait(TIMEOUT)
        if name_of_thread() != "learner_0":
            raise KeyboardInterrupt
        return "computed"

    learned = pool.submit(work.results, [part, part])
    with pytest.raises(KeyboardInterrupt):
        work.lend_a_hand(learned)
    assert isinstance(learned.exception(TIMEOUT), KeyboardInterrupt)


def test_helper_computes_with_the_threads_it_is_given(pool):
    torch.set_num_threads(1)
    work, both = SharedWork(threads=3), threading.Barrier(2)

    def part():
        both.wait(TIMEOUT)
        return name_of_thread(), torch.get_num_threads()

    def learn():
        torch.set_num_threads(3)
        return dict(work.results([part, part]))

    learned = pool.submit(learn)
    work.lend_a_hand(learned)
    assert learned.result() == {name_of_thread(): 3, "learner_0": 3}
    assert torch.get_num_threads() == 1
