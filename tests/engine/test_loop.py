"""The guarded loop: whatever a callback raises is reported, and the loop goes on."""

import os

import pytest
from pika.adapters.select_connection import IOLoop

from edeposit.amqp.engine.loop import GuardedLoop


@pytest.fixture
def errors():
    return []


@pytest.fixture
def loop(errors):
    loop = GuardedLoop(errors.append, lambda: None)
    yield loop
    loop.close()


def fail():
    raise RuntimeError("a callback failed")


def test_a_failing_timer_costs_no_other_timer(loop, errors):
    called = []
    loop.call_later(0, fail)
    loop.call_later(0, lambda: called.append("second"))
    loop.call_later(0.02, loop.stop)
    loop.start()
    assert called == ["second"]
    assert [str(error) for error in errors] == ["a callback failed"]


def test_a_failing_file_handler_is_called_again(loop, errors):
    reader, writer = os.pipe()
    calls = []

    def readable(fd, _events):
        calls.append(os.read(fd, 1))
        if len(calls) == 2:
            loop.stop()
        raise OSError("no buffer")

    loop.add_handler(reader, readable, IOLoop.READ)
    os.write(writer, b"ab")
    loop.call_later(5, loop.stop)
    loop.start()
    loop.remove_handler(reader)
    os.close(reader)
    os.close(writer)
    assert calls == [b"a", b"b"]
    assert len(errors) == 2


def test_posted_work_survives_its_neighbours_failure(loop, errors):
    done = []
    loop.post(lambda _: fail(), None)
    loop.post(done.append, 1)
    loop.post(lambda _: loop.stop(), None)
    loop.call_later(5, loop.stop)
    loop.start()
    assert done == [1]
    assert len(errors) == 1


def test_an_error_handler_that_fails_ends_nothing(caplog):
    def handle(_error):
        raise ValueError("the handler failed")

    loop = GuardedLoop(handle, lambda: None)
    called = []
    loop.add_callback(fail)
    loop.add_callback(lambda: called.append(1))
    loop.add_callback(loop.stop)
    loop.start()
    loop.close()
    assert called == [1]
    assert "the handler failed" in caplog.text


def test_a_closed_loop_takes_calls_in_silence(errors):
    loop = GuardedLoop(errors.append, lambda: None)
    loop.close()
    loop.post(lambda _: None, None)
    loop.stop()
    loop.close()
    assert errors == []
