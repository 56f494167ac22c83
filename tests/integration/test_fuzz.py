"""P9: random messages never stop a daemon, and each one ends somewhere countable."""

import json
import os
import random
import string

import pika

from edeposit.amqp.testing import wait_for

MESSAGES = 1_000_000 if os.environ.get("EDEPOSIT_LONG_TESTS") == "1" else 3000


def random_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randrange(-(2**40), 2**40)
    if kind == 2:
        return rng.randrange(256)  # pika encodes no floats
    if kind in (3, 4):
        return "".join(rng.choices(string.printable + "řž€😀\0", k=rng.randrange(40)))
    if kind == 5:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
    if kind == 6:
        return rng.choice(["UUID", "", "__nt_name"])
    if kind == 7:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {
        "".join(rng.choices(string.ascii_letters, k=rng.randrange(1, 9))): random_value(
            rng, depth + 1
        )
        for _ in range(rng.randrange(5))
    }


def random_body(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    if kind == 1:
        return b"[" * rng.randrange(3000)
    if kind == 2:
        return rng.choice([b"NaN", b"Infinity", b'{"a":1,"a":2}', b"\xef\xbb\xbf1", b"1e999", b""])
    if kind == 3:
        value = {"__nt_name": rng.choice(["Echo", "Do", "os", "", 7]), "value": 1}
        return json.dumps(value).encode()
    if kind == 4:
        return os.urandom(0) + b'"' + b"x" * rng.randrange(300_000) + b'"'
    text = json.dumps(random_value(rng), default=lambda b: b.decode("latin-1"))
    data = text.encode()
    return data[: rng.randrange(len(data) + 1)] if kind == 5 else data


def random_headers(rng, number):
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice([None, {}])
    if kind == 1:
        return {"UUID": random_value(rng)}
    headers = {"UUID": f"fuzz-{number}"}
    if kind == 2:
        headers["x"] = random_value(rng)
    return headers


def test_p9_random_messages(service, make_daemon):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    daemon = make_daemon(ECHO_PREFETCH="100", LOG_LEVEL="WARNING").start()
    connection = pika.BlockingConnection(service.parameters())
    channel = connection.channel()
    expected = set()
    for number in range(MESSAGES):
        headers = random_headers(rng, number)
        if headers and headers.get("UUID") == f"fuzz-{number}":
            expected.add(headers["UUID"])
        channel.basic_publish(
            "echo",
            "request",
            random_body(rng),
            pika.BasicProperties(
                headers=headers,
                content_type=rng.choice([None, "application/json", "x" * 200, "ř"]),
                correlation_id=rng.choice([None, "c", "ž" * 100]),
                priority=rng.choice([None, 0, 255]),
            ),
        )
    connection.close()
    wait_for(
        lambda: service.count("plone") + service.count("daemon.undeliverable") >= MESSAGES,
        timeout=60 + MESSAGES / 500,
        what="every message answered or parked",
    )
    # Not one more either: each delivery ended in exactly one of them.
    assert service.count("plone") + service.count("daemon.undeliverable") == MESSAGES
    assert service.count("plone") >= len(expected)
    got = set()
    while True:
        method, properties, _ = service.channel.basic_get("plone", auto_ack=True)
        if method is None:
            break
        uuid = properties.headers["UUID"]  # echoed with its type, which may be a list
        got.add(uuid if isinstance(uuid, str) else repr(uuid))
    assert expected <= got
    assert service.is_still_answering()
    assert "next attempt" not in daemon.log()
    assert daemon.process.poll() is None
