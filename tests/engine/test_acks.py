"""Merged acks: never one too many, in any order of settling."""

import pika.frame
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.engine.acks import AckMerger


class Broker:
    """The broker's view: which tags are unacked."""

    def __init__(self, tags):
        self.unacked = set(tags)

    def take(self, encoded):
        for frame in encoded:
            _, value = pika.frame.decode_frame(frame)
            method = value.method
            assert method.delivery_tag in self.unacked, "unknown delivery tag closes the channel"
            if method.NAME == "Basic.Ack" and method.multiple:
                self.unacked -= {tag for tag in self.unacked if tag <= method.delivery_tag}
            else:
                self.unacked.discard(method.delivery_tag)


@given(st.data())
def test_exactly_the_settled_are_acked(data):
    count = data.draw(st.integers(1, 40))
    order = data.draw(st.permutations(range(1, count + 1)))
    merger, broker = AckMerger(), Broker(range(1, count + 1))
    serials = {tag: merger.delivered(tag) for tag in range(1, count + 1)}
    done = set()
    while len(done) < count:
        batch = order[len(done) : len(done) + data.draw(st.integers(1, 10))]
        for tag in batch:
            if data.draw(st.integers(0, 9)) == 0:
                broker.take([merger.give_back(1, serials[tag])])
            else:
                merger.settle(serials[tag])
        done.update(batch)
        broker.take(merger.take(1))
        assert broker.unacked == set(serials) - done


def test_neighbours_are_merged_into_one_frame():
    merger = AckMerger()
    for tag in range(1, 101):
        merger.settle(merger.delivered(tag))
    assert merger.waiting == 100
    frames = merger.take(1)
    assert len(frames) == 1
    assert merger.waiting == 0


def test_serials_of_an_earlier_channel_are_ignored():
    merger = AckMerger()
    old = merger.delivered(1)
    merger.reset()
    new = merger.delivered(1)
    assert new != old
    merger.settle(old)
    assert merger.take(1) == []
    merger.settle(new)
    assert len(merger.take(1)) == 1


def test_one_unfinished_delivery_holds_no_memory_of_the_others():
    merger = AckMerger()
    merger.delivered(1)
    for tag in range(2, 10_000):
        merger.settle(merger.delivered(tag))
        if tag % 7 == 0:
            merger.take(1)
    merger.take(1)
    assert list(merger._unacked) == [1]
    assert merger.waiting == 0


def test_settling_twice_acks_once():
    merger = AckMerger()
    serial = merger.delivered(1)
    merger.settle(serial)
    merger.settle(serial)
    assert len(merger.take(1)) == 1
    merger.settle(serial)
    assert merger.take(1) == []
