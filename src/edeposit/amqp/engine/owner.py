"""What a connection tells its owner: ``PikaDaemon`` and ``AMQPClient``."""

from typing import Protocol

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.publisher import Outgoing


class ConnectionOwner(Protocol):
    """Who uses a connection; all calls come on the I/O thread."""

    def on_channel(self, channel: Channel) -> None:
        """A fresh channel in confirm mode: prepare it, then call ``usable()``."""

    def on_usable(self) -> None:
        """``usable()`` was called: messages may flow."""

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message arrived; ``error`` if a part of its properties cannot be decoded."""

    def on_batch_end(self) -> None:
        """The frames of one read, or one batch of posted work, are done: write acks now."""

    def on_cancelled(self, consumer_tag: str) -> None:
        """The broker has cancelled this consumer; the channel stays open."""

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone, with everything that belonged to it."""

    def on_retry(self, failure: Diagnosis, delay: float) -> bool:
        """Another attempt comes in ``delay`` seconds; False gives up."""

    def on_blocked(self, blocked: bool) -> None:
        """The broker has stopped, or resumed, taking messages (memory or disk alarm)."""

    def on_tick(self) -> None:
        """About once a second."""
