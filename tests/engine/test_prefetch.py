"""The prefetch window: deep for fast work, small for slow or large messages, calm in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.engine.prefetch import LARGE_BODY, PrefetchWindow

MIB = 1024 * 1024


def work(window, count, seconds=0.0, size=100, in_hand=None):
    """Handle messages one after another; returns the sizes decided on the way."""
    decided = []
    for _ in range(count):
        if size > LARGE_BODY:
            window.arrived(size)
        window.finished(seconds)
        new = window.decide(window.size if in_hand is None else in_hand)
        if new is not None:
            decided.append(new)
    return decided


def test_it_starts_with_one_message_more_than_handlers():
    assert PrefetchWindow(concurrency=3).size == 4


def test_fast_work_from_a_full_queue_grows_the_window_in_a_few_hundred_messages():
    window = PrefetchWindow(1)
    assert work(window, 500, seconds=20e-6) == [8, 32, 128, 256]


def test_it_waits_for_two_full_windows():
    window = PrefetchWindow(1)
    assert work(window, 3, seconds=20e-6) == []
    assert work(window, 1, seconds=20e-6) == [8]


def test_an_empty_queue_never_grows_it():
    window = PrefetchWindow(1)
    assert work(window, 1000, seconds=20e-6, in_hand=1) == []


def test_slow_work_never_grows_it():
    window = PrefetchWindow(2)
    assert work(window, 100, seconds=0.5) == []


def test_the_work_ahead_stays_about_a_tenth_of_a_second():
    window = PrefetchWindow(1)
    work(window, 5000, seconds=0.002)
    assert window.size * 0.002 <= 0.1
    assert window.size >= 20


def test_handlers_share_the_work_ahead():
    one, four = PrefetchWindow(1), PrefetchWindow(4)
    work(one, 5000, seconds=0.002)
    work(four, 5000, seconds=0.002)
    assert four.size > 2 * one.size


def test_the_bytes_ahead_are_bounded():
    window = PrefetchWindow(1)
    work(window, 5000, seconds=20e-6, size=MIB)
    assert window.size * MIB <= 32 * MIB


def test_one_slow_run_shrinks_it_at_once():
    window = PrefetchWindow(1)
    work(window, 500, seconds=20e-6)
    assert work(window, 1, seconds=1.5) == [2]


def test_one_large_message_shrinks_it_at_once():
    window = PrefetchWindow(1)
    work(window, 500, seconds=20e-6)
    window.arrived(10 * MIB)
    assert window.decide(1) == 2


def test_work_that_becomes_slower_shrinks_it_after_two_windows():
    window = PrefetchWindow(1)
    work(window, 500, seconds=20e-6)
    size = window.size
    assert work(window, size, seconds=0.01) == []
    assert work(window, size, seconds=0.01) == [10]


def test_work_that_varies_a_little_does_not_change_it():
    window = PrefetchWindow(1)
    work(window, 5000, seconds=0.002)
    assert [work(window, 100, seconds=0.002 * factor) for factor in (0.9, 1.3, 0.8, 1.5)] == [
        [],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_reset_returns_to_the_start(concurrency):
    window = PrefetchWindow(concurrency)
    work(window, 2000, seconds=20e-6)
    assert window.reset() == concurrency + 1
    assert window.reset() is None


@given(
    st.integers(1, 16),
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 100 * MIB), st.integers(1, 300)), max_size=300
    ),
)
def test_it_always_stays_within_its_bounds(concurrency, messages):
    window = PrefetchWindow(concurrency)
    for seconds, size, in_hand in messages:
        window.arrived(size)
        window.finished(seconds)
        window.decide(in_hand)
        assert concurrency + 1 <= window.size <= 256
