"""The confirm deadline, and the pause between attempts."""

import time

from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.deadline import ConfirmDeadline


def test_only_an_old_publish_is_overdue():
    deadline = ConfirmDeadline(lambda: 10, 1)
    now = time.monotonic()
    assert not deadline.is_over(None)
    assert not deadline.is_over(now - 9)
    assert deadline.is_over(now - 11)


def test_a_frozen_process_gets_one_more_interval():
    deadline = ConfirmDeadline(lambda: 10, 0.001)
    sent = time.monotonic() - 11
    time.sleep(0.01)  # a time, not a wait for something: ten intervals without a look
    assert not deadline.is_over(sent)
    assert deadline.is_over(sent)


def test_pauses_grow_differ_and_have_a_limit():
    one, other = Backoff(first=1, cap=30), Backoff(first=1, cap=30)
    pauses = [one.next() for _ in range(20)]
    assert all(0.5 <= pause <= 30 for pause in pauses)
    assert all(pause >= 15 for pause in pauses[5:])
    assert pauses != [other.next() for _ in range(20)]
    one.reset()
    assert one.next() <= 1


def test_what_a_person_has_to_repair_is_tried_less_often():
    assert Backoff(first=1).next(transient=False) >= 4
