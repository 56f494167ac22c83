"""A channel of its own for messages that may close it.

RabbitMQ answers some messages by closing the channel (403, 404, 406) or even the connection (541
for a made-up direct reply-to address), and does not say which message it was. So whatever was
unconfirmed then is suspect: it is sent here, one message at a time. What closes this channel while
it is alone is guilty, and its owner gets a ``RejectedError``; everything else arrives.

Where the broker allows no second channel, the usual one has to serve: while there is a suspect, all
messages come here and go out on it one at a time.

What must stay true: each message handed over ends in exactly one call of its ``done``.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel

from edeposit.amqp.engine import diagnosis
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.publisher import Done, Outgoing, unroutable
from edeposit.amqp.errors import PublishError, RefusedError, RejectedError

logger = logging.getLogger(__name__)

#: Reply codes that are no answer to a message: a close in order, an operator's close.
_NOBODYS_FAULT = (0, 200, 320)
#: Nor are these, whatever their code: the consumer, or another channel, is the cause.
_NO_MESSAGES_FAULT = ("ack-timeout", "channel-limit", "queue-down", "exclusive-consumer")
# A message that was unconfirmed at so many losses without a reply code is suspect, too: a proxy
# or a broker short of memory may cut the connection at a message that is too large for it.
_SUSPECT_AFTER = 3
_BAD_MOST = 1000
_BAD_FOR = 600.0
_OPEN_AGAIN_AFTER = 0.2
_ONE_CHANNEL_FOR = 600.0


def is_suspect(failure: diagnosis.Diagnosis, outgoing: Outgoing) -> bool:
    """May this unconfirmed message be why the channel was closed?"""
    outgoing.losses += 1
    return _is_blamed(failure) or outgoing.losses >= _SUSPECT_AFTER


def _is_blamed(failure: diagnosis.Diagnosis) -> bool:
    return failure.reply_code not in _NOBODYS_FAULT and failure.code not in _NO_MESSAGES_FAULT


class SuspectChannel:
    """Publishes one message at a time, and declares queues that may not be allowed.

    Args:
        link: the connection.
        spared: an exchange that is never taken for bad; the main channel watches it.
        confirm_timeout: seconds until an unconfirmed message is taken for refused.

    Attributes:
        is_alert: there is a suspect, or an exchange that is known to be bad.
    """

    def __init__(self, link: BrokerConnection, spared: str, confirm_timeout: float) -> None:
        self._link = link
        self._confirm_timeout = confirm_timeout
        self._spared = spared
        self._waiting: deque[Outgoing] = deque()
        self._current: Outgoing | None = None
        self._sent_at = 0.0
        self._channel: Channel | None = None
        self._opening = False
        self._one_channel_since = -_ONE_CHANNEL_FOR
        self._borrowed: Done | None = None
        self.is_alert = False
        self._bad: dict[str, float] = {}
        self._suspected: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting) + (self._current is not None)

    @property
    def has_one_channel(self) -> bool:
        """Has the broker refused a second channel lately?"""
        return time.monotonic() - self._one_channel_since < _ONE_CHANNEL_FOR

    @property
    def takes_all(self) -> bool:
        """Must all messages come here, because the suspects are sent on the usual channel?"""
        return len(self) > 0 and self.has_one_channel

    def is_bad(self, exchange: str) -> bool:
        """Has a message to this exchange closed the channel lately, or is one suspect of it?"""
        if exchange in self._suspected:
            return True
        since = self._bad.get(exchange)
        if since is None:
            return False
        if time.monotonic() - since < _BAD_FOR:
            return True
        del self._bad[exchange]
        return False

    def publish(self, outgoing: Outgoing) -> None:
        """Send a message when its turn comes."""
        self.is_alert = True
        self._waiting.append(outgoing)
        if outgoing.exchange != self._spared:
            self._suspected.add(outgoing.exchange)
        self.resume()

    def declare(self, queue: str, done: Callable[[bool], None]) -> None:
        """Declare a durable queue on a channel of its own; ``done`` gets whether it is there."""
        answered: list[bool] = []

        def opened(channel: Channel) -> None:
            def declared(_frame: Any) -> None:
                answered.append(True)
                channel.close()

            channel.queue_declare(queue, durable=True, callback=declared)

        def closed(_channel: Any, reason: Exception) -> None:
            self._note_limit(reason)
            # 406: the queue is there, with other arguments.
            done(bool(answered) or diagnosis.reply_code(reason) == 406)

        channel = self._new_channel(opened)
        if channel is None:
            done(False)
        else:
            channel.add_on_close_callback(closed)

    def resume(self) -> None:
        """Go on with what waits, if there is a connection."""
        if not self._waiting and self._current is None:
            self._suspected.clear()
            self.is_alert = bool(self._bad)
        if self._current is not None or not self._waiting or not self._link.is_usable:
            return
        if self._channel is not None and self._channel.is_open:
            self._send(self._channel)
        elif self.has_one_channel:
            self._borrow()
        elif not self._opening:
            self._open()

    def expire(self) -> None:
        """See to the deadline of the message on its way; call it now and then."""
        late = time.monotonic() - self._sent_at > self._confirm_timeout
        watched = self._borrowed is not None or self._link.blocked
        if self._current is not None and late and not watched:
            outgoing, self._current = self._current, None
            if self._channel is not None and self._channel.is_open:
                self._channel.close()
            self._channel = None
            outgoing.done(outgoing, RefusedError("the broker has not confirmed it in time"))
        self.resume()

    # --- the channel ------------------------------------------------------------------------

    def _new_channel(self, opened: Callable[[Channel], None]) -> Channel | None:
        connection = self._link.connection
        if connection is None or not connection.is_open or self.has_one_channel:
            return None
        try:
            return connection.channel(on_open_callback=opened)
        except pika.exceptions.NoFreeChannels as error:  # ``channel_max``
            self._note_one_channel(error)
            return None

    def _note_limit(self, reason: Exception) -> None:
        """A limit of the user's is told by closing the connection."""
        failure = diagnosis.diagnose(reason, self._link.parameters)
        if failure.code == "channel-limit":
            self._note_one_channel(reason)

    def _note_one_channel(self, error: Exception) -> None:
        logger.warning("no second channel, suspects are sent on the usual one: %r", error)
        self._one_channel_since = time.monotonic()

    def _open(self) -> None:
        def opened(channel: Channel) -> None:
            channel.add_on_return_callback(self._on_return)
            channel.confirm_delivery(self._on_confirm, callback=lambda _frame: ready(channel))

        def ready(channel: Channel) -> None:
            self._opening = False
            self._channel = channel
            self.resume()

        channel = self._new_channel(opened)
        if channel is not None:
            self._opening = True
            channel.add_on_close_callback(self._on_closed)
        elif self.has_one_channel:
            self._borrow()

    # --- the usual channel ------------------------------------------------------------------

    def _borrow(self) -> None:
        """Send one message on the usual channel, with no other on its way."""
        if len(self._link.publisher):
            return
        outgoing = self._current = self._waiting.popleft()
        self._borrowed = outgoing.done
        outgoing.done = self._settled
        self._link.publish(outgoing)
        self._link.flush()

    def _settled(self, outgoing: Outgoing, error: PublishError | None) -> None:
        self._take_back(outgoing)
        outgoing.suspect = False
        outgoing.done(outgoing, error)
        self.resume()

    def lost(self, outgoing: Outgoing, failure: diagnosis.Diagnosis) -> bool:
        """Was this message on the usual channel alone when that was lost? Then it is judged."""
        if outgoing is not self._current or self._borrowed is None:
            return False
        self._take_back(outgoing)
        code = failure.reply_code if _is_blamed(failure) else 0
        self._judge(outgoing, code, failure.text)
        return True

    def _take_back(self, outgoing: Outgoing) -> None:
        assert self._borrowed is not None
        outgoing.done, self._borrowed = self._borrowed, None
        self._current = None

    # --- the channel of its own -------------------------------------------------------------

    def _send(self, channel: Channel) -> None:
        connection = self._link.connection
        outgoing = self._waiting.popleft()
        assert connection is not None
        try:
            chunks = outgoing.frames(channel.channel_number, self._link.frame_max)
        except PublishError as error:
            outgoing.done(outgoing, error)
            self.resume()
            return
        self._current = outgoing
        self._sent_at = time.monotonic()
        outgoing.returned = None
        connection.emit(chunks)

    def _on_return(self, _channel: Channel, method: Any, _properties: Any, _body: bytes) -> None:
        if self._current is not None:
            self._current.returned = unroutable(self._current, method.reply_code, method.reply_text)

    def _on_confirm(self, frame: Any) -> None:
        outgoing, self._current = self._current, None
        if outgoing is None:
            return
        outgoing.suspect = False
        if isinstance(frame.method, pika.spec.Basic.Nack):
            outgoing.done(outgoing, RefusedError("the broker refused the message (basic.nack)"))
        else:
            outgoing.done(outgoing, outgoing.returned)
        self.resume()

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel and not self._opening:
            return  # closed by us
        self._note_limit(reason)
        self._opening = False
        self._channel = None
        outgoing, self._current = self._current, None
        if outgoing is not None:
            text = " ".join(str(getattr(reason, "reply_text", reason)).split())
            self._judge(outgoing, diagnosis.reply_code(reason), text)
        self._link.ioloop.call_later(_OPEN_AGAIN_AFTER, self.resume)

    def _judge(self, outgoing: Outgoing, code: int, text: str) -> None:
        """The channel was lost while this message was alone on it."""
        if code in _NOBODYS_FAULT:
            self._lost(outgoing)
            return
        if code in (403, 404) and outgoing.exchange != self._spared:
            self._note_bad(outgoing.exchange)
        outgoing.done(outgoing, RejectedError(f"the broker does not take it: {text}", code))

    def _lost(self, outgoing: Outgoing) -> None:
        outgoing.losses += 1
        if outgoing.losses < 2 * _SUSPECT_AFTER:
            self._waiting.appendleft(outgoing)
        else:  # the others have to go on
            text = f"the connection was lost {outgoing.losses} times over it"
            outgoing.done(outgoing, RejectedError(text, 0))

    def _note_bad(self, exchange: str) -> None:
        self._bad.pop(exchange, None)
        self._bad[exchange] = time.monotonic()
        self.is_alert = True
        if len(self._bad) > _BAD_MOST:
            del self._bad[next(iter(self._bad))]
