"""A complete module: a service, its structures and its daemon."""

from collections import namedtuple

from edeposit.amqp import service

Shout = namedtuple("Shout", "text times")
Shouted = namedtuple("Shouted", "text")


def reactToAMQPMessage(message, send_back):
    if not isinstance(message, Shout):
        raise ValueError(f"Unknown type of request: {type(message).__name__}")
    for number in range(message.times):
        send_back(Shouted(f"{number + 1}!"))  # progress, as often as you like
    return Shouted(message.text.upper())


if __name__ == "__main__":
    service.run(reactToAMQPMessage, [Shout, Shouted], name="shouting")
