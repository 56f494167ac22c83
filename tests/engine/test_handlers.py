"""Handler threads survive what they run, and what they hold is in one place."""

import logging
import threading

import pytest
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.handlers import HandlerPool
from edeposit.amqp.testing import wait_for


def delivery(number):
    return Delivery(number, Basic.Deliver("c", number, False, "e", "k"), BasicProperties(), b"")


@pytest.fixture
def gate():
    event = threading.Event()
    event.set()
    return event


def test_what_is_withdrawn_is_never_run_and_the_rest_is(gate):
    done, busy, go = [], threading.Event(), threading.Event()

    def handle(item):
        busy.set()
        go.wait(10)
        done.append(item.handle)

    pool = HandlerPool(handle, print, gate)
    pool.start(1)
    for number in range(1, 6):
        pool.put(delivery(number))
    assert busy.wait(10)
    assert [item.handle for item in pool.withdraw()] == [2, 3, 4, 5]
    pool.put(delivery(6))
    go.set()
    wait_for(lambda: done == [1, 6], what="begun and new work")


def test_nothing_is_begun_at_a_closed_gate_and_it_can_be_withdrawn(gate):
    gate.clear()
    done = []
    pool = HandlerPool(lambda item: done.append(item.handle), print, gate)
    pool.start(2)
    for number in range(1, 4):
        pool.put(delivery(number))
    wait_for(lambda: pool._queue.qsize() == 1, what="two threads wait at the gate")
    assert [item.handle for item in pool.withdraw()] == [1, 2, 3]
    pool.put(delivery(4))
    gate.set()
    wait_for(lambda: done == [4], what="what came later")


class BadHandler(logging.Handler):
    def handle(self, record):
        raise OSError("the log is gone")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError])
def test_a_thread_survives_its_handlers_error_and_the_errors_of_its_error_path(gate, error):
    done = []

    def handle(item):
        if item.handle < 4:
            raise error
        done.append(item.handle)

    def failed(item, raised):
        raise RuntimeError("the error path fails, too")

    bad = BadHandler()
    logging.getLogger("edeposit.amqp.engine").addHandler(bad)
    try:
        pool = HandlerPool(handle, failed, gate)
        pool.start(1)
        for number in range(1, 5):
            pool.put(delivery(number))
        wait_for(lambda: done == [4], what="the thread goes on")
        pool.check()
        assert pool.replaced == 0
    finally:
        logging.getLogger("edeposit.amqp.engine").removeHandler(bad)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_replaced_and_its_delivery_is_not_forgotten(gate):
    done, failed = [], []

    def handle(item):
        if item.handle == 1:
            pool._survive = None  # its error path does not even exist
            raise ValueError
        done.append(item.handle)

    pool = HandlerPool(handle, lambda item, error: failed.append(item.handle), gate)
    pool.start(1)
    pool.put(delivery(1))
    pool.put(delivery(2))
    wait_for(lambda: not pool._threads[0].is_alive(), what="the thread dies")
    del pool._survive
    pool.check()
    wait_for(lambda: done == [2], what="the next one works")
    assert (pool.replaced, failed) == (1, [1])


class DeadlyGate:
    """A gate at which the first thread dies."""

    has_killed = False

    def is_set(self):
        return self.has_killed

    def wait(self):
        self.has_killed = True
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_dying_thread_has_taken_but_not_begun_is_run():
    done = []
    pool = HandlerPool(lambda item: done.append(item.handle), print, DeadlyGate())
    pool.start(1)
    pool.put(delivery(1))
    wait_for(lambda: not pool._threads[0].is_alive(), what="the thread dies")
    pool.check()
    wait_for(lambda: done == [1], what="the next thread runs it")
