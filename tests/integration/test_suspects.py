"""One message's fault is no outage: what the broker closes channels over is found and set aside."""

import json
import uuid

import pytest

from edeposit.amqp.testing import wait_for

ECHO = {"__nt_name": "Echo", "value": 1}


def send_by_handler(service, **arguments):
    """Have the handler call ``sendMessage``."""
    return service.send({"__nt_name": "Do", "what": "send", "argument": arguments})


def others_are_served(service, count=10):
    return all(service.is_still_answering() for _ in range(count))


@pytest.mark.parametrize(
    "arguments",
    [
        {"exchange": "no-such-exchange"},
        {"expiration": "soon"},
        {"user_id": "somebody"},
        {"routing_key": "r" * 255, "exchange": "missing"},
    ],
    ids=str,
)
def test_what_a_handler_sends_is_parked_when_the_broker_closes_the_channel_over_it(
    service, daemon, arguments
):
    number = send_by_handler(service, **arguments)
    assert service.answer()[0] == number
    assert others_are_served(service)
    _, properties, body = service.get("daemon.undeliverable")
    assert body == b"sent"
    assert "does not take it" in properties.headers["x-edeposit-reason"]
    assert len([run for run in daemon.runs() if "send" in run]) == 1
    assert service.nothing_left()


def test_later_messages_to_a_missing_exchange_cost_no_channel(service, daemon):
    for _ in range(5):
        send_by_handler(service, exchange="no-such-exchange")
        service.answer()
    for _ in range(5):
        service.get("daemon.undeliverable")
    assert others_are_served(service)
    assert daemon.log().count("next attempt") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"message": {"a": 1}},
        {"message": 7},
        {"routing_key": "k" * 256},
        {"routing_key": 7},
        {"exchange": None},
        {"correlation_id": 7},
        {"delivery_mode": "2"},
        {"priority": 256},
        {"headers": {"x": "y" * 200_000}},
        {"headers": [1]},
    ],
    ids=lambda arguments: str(arguments)[:40],
)
def test_a_handler_gets_the_error_of_what_it_sends(service, daemon, arguments):
    number = send_by_handler(service, **arguments)
    got, (name, text) = service.answer()
    assert (got, name) == (number, "UnencodableError")
    assert text
    assert service.is_still_answering()
    assert "next attempt" not in daemon.log()
    assert service.nothing_left()


def test_a_property_of_a_wrong_type_is_the_handlers_error(service, daemon):
    number = service.send({"__nt_name": "Do", "what": "send-uuid-object", "argument": None})
    assert service.answer()[1][0] == "UnencodableError"
    assert service.is_still_answering()
    assert number


@pytest.mark.parametrize(
    "address",
    ["amq.rabbitmq.reply-to.a.b", "amq.rabbitmq.reply-to.g1h2AAAA.%%%", "amq.rabbitmq.reply-tox"],
)
def test_a_made_up_direct_reply_address_ends_in_the_parking_queue(service, daemon, address):
    number = service.send(ECHO, reply_to=address)
    assert others_are_served(service)
    if service.version >= (4, 3) and address.startswith("amq.rabbitmq.reply-to."):
        # The broker takes and drops it, as an answer to a requester that is gone.
        assert service.nothing_left()
        return
    _, properties, body = service.get("daemon.undeliverable")
    assert (properties.headers["UUID"], json.loads(body)) == (number, ECHO)
    assert service.nothing_left()
    assert daemon.log().count("next attempt") <= 2


def test_replies_to_where_the_daemon_may_not_write_are_dropped_with_an_error(service, make_daemon):
    daemon = make_daemon(**service.restrict("^echo$")).start()
    service.channel.queue_declare("mine")
    numbers = [service.send(ECHO, reply_to="mine") for _ in range(5)]
    assert others_are_served(service)
    assert service.nothing_left()
    for number in numbers:
        assert number in daemon.log()
    assert daemon.log().count("is dropped") == 5
    # The first one closes the main channel, the others are known to be bad.
    assert daemon.log().count("next attempt") == 1


def test_innocent_neighbours_of_a_bad_message_are_answered_once(service, make_daemon):
    make_daemon(ECHO_PREFETCH="50", ECHO_CONCURRENCY="4").start()
    bodies = [{"__nt_name": "Echo", "value": n} for n in range(40)]
    bad = {"__nt_name": "Do", "what": "send", "argument": {"exchange": "missing"}}
    numbers = service.send_many([*bodies[:20], bad, *bodies[20:]])
    counts = service.collect(numbers)
    assert service.nothing_left()
    assert set(counts.values()) <= {1, 2}  # twice if its confirm was lost with the channel
    assert service.count("daemon.undeliverable") == 1


@pytest.fixture(params=["channel_max", "user limit"])
def only_one_channel(request, service):
    """The broker allows a connection one channel; yields the settings of a daemon."""
    if request.param == "channel_max":
        ctl = service.rabbit.ctl
        ctl("eval", "application:set_env(rabbit, channel_max, 1).")
        yield {}
        ctl("eval", "application:set_env(rabbit, channel_max, 2047).")
    else:
        user = service.restrict(".*")
        limits = json.dumps({"max-channels": 1})
        service.rabbit.ctl("set_user_limits", user["RABBITMQ_USER_NAME"], limits)
        yield user


def test_a_bad_message_is_found_where_one_channel_is_all_there_is(
    service, make_daemon, only_one_channel
):
    daemon = make_daemon(ECHO_PREFETCH="10", ECHO_CONCURRENCY="2", **only_one_channel).start()
    bad = {"__nt_name": "Do", "what": "send", "argument": {"exchange": "missing"}}
    bodies = [{"__nt_name": "Echo", "value": n} for n in range(20)]
    counts = service.collect(service.send_many([*bodies[:10], bad, *bodies[10:]]))
    assert len(counts) == 21
    assert max(counts.values()) <= 1 + 3  # one more for each loss that took its confirm along
    assert others_are_served(service)
    assert service.get("daemon.undeliverable")[2] == b"sent"
    assert service.nothing_left()
    assert len([run for run in daemon.runs() if "send" in run]) == 1
    # It, the attempt to open a channel (a user's limit ends the connection), it alone.
    assert daemon.log().count("next attempt") <= 3


def test_the_callers_properties_stay_its_own(service, daemon):
    """Two messages with one properties object: the unroutable one is told from the other."""
    for _ in range(20):
        service.send({"__nt_name": "Do", "what": "send-twice", "argument": "nobody.listens"})
    wait_for(lambda: service.count("plone") == 40, what="answers and routable messages")
    wait_for(lambda: service.count("daemon.undeliverable") == 20, what="unroutable ones")
    for _ in range(20):
        assert service.get("daemon.undeliverable")[2] == b"unroutable"
    headers = [service.get()[1].headers for _ in range(40)]
    assert {header["n"] for header in headers if "n" in header} == {0}
    assert service.nothing_left()


def test_two_messages_with_one_message_id_are_told_apart(service, daemon):
    number = str(uuid.uuid4())
    for key in ("result", "nobody.listens"):
        send_by_handler(service, routing_key=key, message=key, message_id=number)
    assert service.get("daemon.undeliverable")[2] == b"nobody.listens"
    bodies = [service.get()[2] for _ in range(3)]
    assert bodies.count(b"result") == 1
    assert service.nothing_left()
