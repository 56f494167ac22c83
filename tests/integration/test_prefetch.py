"""The prefetch window adapts itself: deep for fast work, fair for slow, and the order is kept."""

import json

from edeposit.amqp.testing import wait_for


def do(what, argument):
    return {"__nt_name": "Do", "what": what, "argument": argument}


def drain(service, count):
    """The numbers in the answers, in the order in which they come."""
    return [json.loads(service.get(timeout=30)[2])["value"] for _ in range(count)]


def test_fast_work_gets_a_deep_window_and_keeps_its_order(service, make_daemon):
    service.send_many([{"__nt_name": "Echo", "value": number} for number in range(3000)])
    daemon = make_daemon(LOG_LEVEL="WARNING").start()
    assert drain(service, 3000) == list(range(3000))
    wait_for(lambda: daemon.status().get("prefetch", 0) > 50, what="the window has grown")
    assert service.nothing_left()


def test_slow_work_is_shared_by_two_daemons(service, make_daemon):
    daemons = [make_daemon(name=name).start() for name in ("one", "two")]
    service.send_many([do("sleep", 0.1) for _ in range(40)])
    for _ in range(40):
        service.get(timeout=30)
    shares = [len(daemon.runs()) for daemon in daemons]
    assert sum(shares) == 40
    assert min(shares) >= 12
    assert [daemon.status()["prefetch"] for daemon in daemons] == [2, 2]


def test_a_large_message_shrinks_the_window_and_costs_no_answer(service, make_daemon):
    daemon = make_daemon(LOG_LEVEL="WARNING").start()
    echo = [{"__nt_name": "Echo", "value": number} for number in range(2000)]
    service.send_many(echo[:1500])
    service.send_many([{"__nt_name": "Echo", "value": "x" * 16_000_000}, *echo[1500:1600]])
    values = drain(service, 1601)
    assert [value for value in values if isinstance(value, int)] == list(range(1600))
    wait_for(lambda: daemon.status().get("prefetch", 0) < 100, what="the window has shrunk")
    assert service.nothing_left()


def test_a_fixed_prefetch_count_stays(service, make_daemon):
    daemon = make_daemon(ECHO_PREFETCH="7", LOG_LEVEL="WARNING").start()
    service.send_many([{"__nt_name": "Echo", "value": number} for number in range(500)])
    drain(service, 500)
    wait_for(lambda: daemon.status().get("handled") == 500, what="status is written")
    assert daemon.status()["prefetch"] == 7


def test_the_order_is_kept_while_the_window_shrinks(service, make_daemon):
    make_daemon(LOG_LEVEL="WARNING").start()
    requests = []
    for number in range(3000):
        requests.append({"__nt_name": "Echo", "value": number})
        if number in (800, 1600, 2400):
            requests.append(do("sleep", 1.2))
    service.send_many(requests)
    values = []
    while len(values) < 3000:
        value = json.loads(service.get(timeout=30)[2])
        if "value" in value:
            values.append(value["value"])
    assert values == list(range(3000))
