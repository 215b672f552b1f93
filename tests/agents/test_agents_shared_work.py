"""Parts of a computation, taken by whoever is free."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from agents import shared_work
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


def test_interrupted_helper_leaves_its_part_to_the_others(pool):
    work, begun = SharedWork(), threading.Event()
    by = []

    def part():
        by.append(name_of_thread())
        if name_of_thread() != "learner_0":
            begun.set()
            raise KeyboardInterrupt
        assert begun.wait(TIMEOUT)
        return len(by)

    learned = pool.submit(lambda: [len(work.results([part, part])) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        work.lend_a_hand(learned)
    assert learned.result(TIMEOUT) == [2, 2]
    assert by.count(name_of_thread()) == 1
    assert by.count("learner_0") == 4


def test_part_lost_by_an_interrupted_helper_is_computed(pool, monkeypatch):
    """The interrupt comes when the helper has taken a part and not begun it."""
    work, taken = SharedWork(), threading.Event()
    compute = shared_work._compute

    def interrupted(*task):
        if name_of_thread() != "learner_0":
            taken.set()
            raise KeyboardInterrupt
        compute(*task)

    monkeypatch.setattr(shared_work, "_compute", interrupted)
    learned = pool.submit(work.results, [lambda: taken.wait(TIMEOUT), lambda: taken.wait(TIMEOUT)])
    with pytest.raises(KeyboardInterrupt):
        work.lend_a_hand(learned)
    assert learned.result(TIMEOUT) == [True, True]


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_helper_computes_as_in_a_thread_of_its_own(pool, context):
    work, both = SharedWork(), threading.Barrier(2)
    weight = torch.ones(3, 3, requires_grad=True)

    def part():
        both.wait(TIMEOUT)
        product = weight @ weight
        return product.dtype, torch.autograd.grad(product.sum(), weight)[0].tolist()

    learned = pool.submit(work.results, [part, part])
    with context():
        work.lend_a_hand(learned)
        before = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    with context():
        assert before == (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
    assert learned.result() == [(torch.float32, [[6.0] * 3] * 3)] * 2


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
