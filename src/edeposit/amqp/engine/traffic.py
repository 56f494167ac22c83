"""What flows on a connection's channel: publishes, confirms, deliveries, acks.

``Traffic`` is the half of ``BrokerConnection`` that knows nothing of connecting. It is the hot
path: frames are queued here and written once per batch.
"""

import enum

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.fastconnection import FastConnection
from edeposit.amqp.engine.gate import Gate, congested
from edeposit.amqp.engine.owner import ConnectionOwner
from edeposit.amqp.engine.publisher import Outgoing, Publisher
from edeposit.amqp.errors import MessageTooLargeError, PublishError


class Life(enum.Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"  # or opening and preparing the channel
    USABLE = "usable"
    MOVING = "moving"  # the channel is being closed to get a fresh one
    WAITING = "waiting"  # for the next attempt
    CLOSING = "closing"
    CLOSED = "closed"


_USABLE = Life.USABLE  # looked up once: it is needed for each message


class Traffic:
    """Pipelined, confirmed publishing, and the reports of the watched channel.

    Args:
        owner: is told what arrives.
        max_message_size: bytes the broker accepts, 0 to learn it from its first refusal.

    Attributes:
        blocked: the broker has an alarm and takes no messages.
        frame_max: bytes of the largest frame, as last negotiated.
        clear_to_send: an event that is set while messages may be published; any thread may wait.
    """

    def __init__(self, owner: ConnectionOwner, max_message_size: int) -> None:
        self.owner = owner
        self.max_message_size = max_message_size
        self.frame_max = 4096  # the least that AMQP 0-9-1 lets a peer negotiate
        self.publisher = Publisher()
        self.connection: FastConnection | None = None
        self.channel: Channel | None = None
        self.life = Life.CONNECTING
        self.blocked = False
        self._gate = Gate()
        self.clear_to_send = self._gate.clear_to_send
        self._chunks: list[bytes] = []

    @property
    def is_usable(self) -> bool:
        """May messages be published?"""
        return self.life is _USABLE

    def publish(self, outgoing: Outgoing) -> None:
        """Write a message; its ``done`` is called when the broker has taken or refused it.

        Without a usable channel ``done`` gets a ``PublishError`` at once.
        """
        channel = self.channel
        if channel is None or self.life is not _USABLE:
            outgoing.done(outgoing, PublishError("no connection to the broker"))
            return
        limit = self.max_message_size
        if limit and len(outgoing.body) > limit:
            outgoing.done(outgoing, MessageTooLargeError(len(outgoing.body), limit))
            return
        try:
            chunks = self.publisher.encode(outgoing, channel.channel_number, self.frame_max)
        except PublishError as error:
            outgoing.done(outgoing, error)
            return
        self._chunks += chunks
        if congested(self.publisher):
            self._update_gate()

    def write(self, chunks: list[bytes]) -> None:
        """Queue encoded frames (acks) for the next ``flush()``."""
        self._chunks += chunks

    def flush(self) -> None:
        """Hand all queued frames to the socket in as few writes as possible."""
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            if self.connection is not None and self.connection.is_open:
                self.connection.emit(chunks)

    def open_gate(self) -> None:
        """Let every thread that waits for ``clear_to_send`` go on, for good (shutdown)."""
        self._gate.release()

    def _update_gate(self) -> None:
        self._gate.update(self.life is _USABLE and not self.blocked, self.publisher)

    # --- what the watched channel reports ---------------------------------------------------

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        self.owner.on_deliver(method, properties, body, error)

    def on_return(self, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        self.publisher.returned(properties, method.reply_code, method.reply_text)

    def on_confirm(self, delivery_tag: int, multiple: bool, positive: bool) -> None:
        self.publisher.confirmed(delivery_tag, multiple, positive)
        if not self.clear_to_send.is_set():
            self._update_gate()

    def on_batch_end(self) -> None:
        self.owner.on_batch_end()
        self.flush()

    def _drop_traffic(self) -> list[Outgoing]:
        """Forget what a lost channel invalidates; returns what was not confirmed."""
        self.channel = None
        self._chunks.clear()
        unconfirmed = self.publisher.lost()
        self._update_gate()
        return unconfirmed
