"""Which copy belongs to which job."""

import pytest
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine import jobs
from edeposit.amqp.engine.deliveries import Delivery, State
from edeposit.amqp.engine.jobs import JobTable

PLAIN = {"reply_to": "alice", "correlation_id": "1", "headers": {"UUID": "u"}}


def uuid(properties):
    return (properties.headers or {}).get("UUID")


def delivery(tag=1, body=b"{}", exchange="e", key="request", **properties):
    properties = BasicProperties(**{**PLAIN, **properties})
    item = Delivery(tag, Basic.Deliver("c", tag, False, exchange, key), properties, body)
    item.state = State.RUNNING
    return item


def table(*deliveries, job_key=uuid):
    jobs_table = JobTable(job_key)
    for item in deliveries:
        jobs_table.deliveries[item.handle] = item
    return jobs_table


@pytest.mark.parametrize(
    "difference",
    [
        {"body": b"[]"},
        {"exchange": ""},
        {"key": "a.request"},
        {"reply_to": "bob"},
        {"correlation_id": "2"},
        {"headers": {"UUID": "v"}},
        {"headers": {"UUID": "u", "x-edeposit-progress": True}},
        {"content_encoding": "gzip"},
        {"priority": 3},
    ],
    ids=str,
)
def test_a_copy_is_equal_in_all_that_decides_the_answer(difference):
    job = delivery(1)
    known = table(job)
    assert known.find(delivery(2)) is job
    assert known.find(delivery(3, **difference)) is None


@pytest.mark.parametrize("counter", ["x-delivery-count", "x-acquired-count"])
def test_what_a_queue_counts_makes_no_difference(counter):
    job = delivery(1)
    assert table(job).find(delivery(2, headers={"UUID": "u", counter: 3})) is job


def test_bytes_of_address_and_body_are_not_mixed_up():
    job = delivery(1, exchange="ab", key="c")
    assert table(job).find(delivery(2, exchange="a", key="bc")) is None


def test_equal_jobs_take_one_copy_each():
    first, second = delivery(1), delivery(2)
    known = table(first, second)
    known.detach(())
    copies = delivery(3), delivery(4), delivery(5)
    owners = []
    for copy in copies:
        owner = known.find(copy)
        owner.tags += copy.tags
        owners.append(owner)
    assert owners == [first, second, first]


def test_jobs_without_a_key_are_forgotten_with_their_channel_and_waiting_ones_freed():
    keyless, waiting, job = delivery(1, headers={}), delivery(2), delivery(3)
    known = table(keyless, waiting, job)
    known.detach([waiting])
    assert list(known.deliveries.values()) == [job]
    assert (keyless.state, waiting.state, waiting.body) == (State.ENDED, State.ENDED, b"")


@pytest.mark.parametrize("key", [lambda _: 1 / 0, lambda _: None])
def test_a_key_that_raises_or_is_none_recognises_nothing(key):
    known = table(delivery(1), job_key=key)
    assert known.find(delivery(2)) is None


def test_a_key_may_be_unhashable():
    job = delivery(1)
    assert table(job, job_key=lambda _: [1, {}]).find(delivery(2)) is job


def test_the_key_is_asked_once_for_a_delivery():
    asked = []
    job = delivery(1)
    known = table(job, job_key=lambda properties: asked.append(1) or "k")
    for tag in range(2, 5):
        assert known.find(delivery(tag)) is job
    assert len(asked) == 4


def test_an_answer_is_remembered_from_its_end_and_for_one_copy(monkeypatch):
    job = delivery(1)
    known = table(job)
    known.detach(())
    known.remember(job)
    known.end(job)
    known.expire()
    assert known.find(delivery(2)) is None
    assert known.was_answered(delivery(2))
    assert not known.was_answered(delivery(3))
    known.remember(job)
    monkeypatch.setattr(jobs, "ANSWERED_KEPT", -1.0)
    known.expire()
    assert not known.was_answered(delivery(4))


def test_the_table_does_not_grow():
    known = table()
    for tag in range(1, 2000):
        job = delivery(tag, headers={"UUID": str(tag)})
        known.deliveries[tag] = job
        known.detach(())
        known.remember(job)
        known.end(job)
    assert not known.deliveries
    assert not known._by_identity
    assert len(known._answered) <= 10_000
