"""A complete module: a service, its structures and its daemon."""

import sys
from collections import namedtuple

from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams

Shout = namedtuple("Shout", "text times")
Shouted = namedtuple("Shouted", "text")


def reactToAMQPMessage(message, send_back):
    if not isinstance(message, Shout):
        raise ValueError(f"Unknown type of request: {type(message).__name__}")
    for number in range(message.times):
        send_back(Shouted(f"{number + 1}!"))  # progress, as often as you like
    return Shouted(message.text.upper())


if __name__ == "__main__":
    daemon = AMQPDaemon(
        getConParams("shouting"), "daemon", "shouting", "result",
        reactToAMQPMessage, [Shout, Shouted], name="shouting",
    )  # fmt: skip
    daemon.run_daemon(sys.argv[1])
