"""Sequence numbers, confirms and returns of one channel."""

import pytest
from pika.spec import BasicProperties

from edeposit.amqp.engine.publisher import Outgoing, Publisher
from edeposit.amqp.errors import RefusedError, UnencodableError, UnroutableError


def publish(publisher, outcomes, count=1):
    messages = []
    for _ in range(count):
        message = Outgoing("e", "k", b"body", BasicProperties(), lambda *a: outcomes.append(a))
        publisher.encode(message, 1, 131072)
        messages.append(message)
    return messages


def test_one_confirm_settles_one_or_all_up_to_it():
    publisher, outcomes = Publisher(), []
    messages = publish(publisher, outcomes, 5)
    publisher.confirmed(2, False, True)
    assert outcomes == [(messages[1], None)]
    publisher.confirmed(4, True, True)
    assert [m for m, _ in outcomes[1:]] == [messages[0], messages[2], messages[3]]
    assert len(publisher) == 1
    assert publisher.unconfirmed_bytes == 4
    assert publisher.oldest() == messages[4].sent_at


def test_a_confirm_after_a_return_means_unroutable():
    publisher, outcomes = Publisher(), []
    first, second = publish(publisher, outcomes, 2)
    publisher.returned(second.properties, 312, "NO_ROUTE")
    publisher.confirmed(2, True, True)
    assert outcomes[0] == (first, None)
    assert isinstance(outcomes[1][1], UnroutableError)


def test_a_nack_is_a_refusal():
    publisher, outcomes = Publisher(), []
    publish(publisher, outcomes)
    publisher.confirmed(1, False, False)
    assert isinstance(outcomes[0][1], RefusedError)


def test_a_confirm_that_comes_twice_settles_once():
    publisher, outcomes = Publisher(), []
    publish(publisher, outcomes)
    publisher.confirmed(1, False, True)
    publisher.confirmed(1, True, True)
    assert len(outcomes) == 1


def test_a_lost_channel_hands_back_what_is_open_and_starts_anew():
    publisher, outcomes = Publisher(), []
    messages = publish(publisher, outcomes, 3)
    publisher.confirmed(1, False, True)
    assert publisher.lost() == messages[1:]
    assert publisher.oldest() is None
    again = publish(publisher, outcomes)
    publisher.confirmed(1, False, True)
    assert outcomes[-1] == (again[0], None)


def test_a_message_keeps_its_id_and_direct_replies_are_not_mandatory():
    publisher, outcomes = Publisher(), []
    message = publish(publisher, outcomes)[0]
    number = message.properties.message_id
    publisher.lost()
    publisher.encode(message, 1, 131072)
    assert message.properties.message_id == number
    assert message.mandatory
    direct = Outgoing("", "amq.rabbitmq.reply-to.g1", b"", BasicProperties(), lambda *a: None)
    assert not direct.mandatory


@pytest.mark.parametrize(
    ("exchange", "key"), [("e", "\ud800"), ("\ud800", "k"), ("e", 7), (None, "k"), ("e", ["k"])]
)
def test_a_bad_address_is_the_error_of_its_sender(exchange, key):
    with pytest.raises(UnencodableError):
        Outgoing(exchange, key, b"", BasicProperties(), print)


@pytest.mark.parametrize(
    "properties",
    [
        {"correlation_id": 7},
        {"headers": {1: "x"}},
        {"headers": "x"},
        {"headers": {"x": object()}},
        {"content_type": ["x"]},
        {"delivery_mode": "2"},
        {"priority": -1},
        {"timestamp": "now"},
        {"message_id": object()},
        {"type": "\ud800"},
    ],
)
def test_bad_properties_are_the_error_of_their_sender(properties):
    with pytest.raises(UnencodableError):
        Outgoing("e", "k", b"", BasicProperties(**properties), print)


def test_returns_are_paired_although_two_messages_have_one_id_of_the_callers():
    publisher, outcomes = Publisher(), []
    messages = []
    for _ in range(2):
        properties = BasicProperties(message_id="same", headers={"kept": 1})
        message = Outgoing("e", "k", b"", properties, lambda *a: outcomes.append(a))
        publisher.encode(message, 1, 131072)
        messages.append(message)
    sent = BasicProperties().decode(messages[0].encoded)
    assert (sent.message_id, sent.headers["kept"]) == ("same", 1)
    publisher.returned(sent, 312, "NO_ROUTE")
    publisher.confirmed(2, True, True)
    assert isinstance(outcomes[0][1], UnroutableError)
    assert outcomes[1] == (messages[1], None)


def test_a_pairing_header_of_another_message_is_not_passed_on():
    properties = BasicProperties(headers={"x-publish-id": "old", "kept": 1})
    message = Outgoing("e", "k", b"", properties, print)
    assert message.properties.headers == {"kept": 1}
