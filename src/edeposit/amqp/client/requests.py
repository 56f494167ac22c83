"""Requests on their way out, and the reply queue by which their answers come back.

Answers come back in one of two ways, whichever generation the daemon is of: new daemons follow
``reply_to``; those of 2015 ignore it, but answer with the prefix of the routing key that they see.
So a call's routing key is ``<reply queue>.request``, the reply queue is bound to
``<reply queue>.result``, and the header ``BCC`` (RabbitMQ's sender-selected distribution) names the
key by which the broker routes the call to the service: its queue needs no binding for us. Where
the user must not bind the reply queue, ``reply_to`` is all there is.

What must stay true: a request that its caller gave up is not sent any more, and the caller is told
whether it may have been; a request fails at once when it cannot reach the service.
"""

import logging
import queue
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp.client.pending import Place, Request
from edeposit.amqp.client.session import CLOSE_TIMEOUT, Session, remaining
from edeposit.amqp.contract import CONTENT_TYPE, UUID_HEADER
from edeposit.amqp.engine import frames
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import (
    AMQPError,
    CallTimeoutError,
    MessageTooLargeError,
    PublishError,
    UnroutableError,
)

logger = logging.getLogger(__name__)

REPLY_QUEUE_PREFIX = "edeposit.reply"
# The reply queue of a client that crashed goes away after this time without a consumer (ms).
_REPLY_QUEUE_EXPIRES = 10 * 60 * 1000
_PREFETCH = 500


class Requests(Session):
    """The session that sends requests and hands out their answers.

    Args:
        place: where they go.
        reply_queue: the name of the queue for answers, unique.
        options: as of ``Session``.
    """

    def __init__(self, place: Place, reply_queue: str, **options: Any) -> None:
        super().__init__(**options)
        self._place = place
        self._reply_queue = reply_queue
        self._own_key = f"{reply_queue}.{place.in_key}"
        self._requests: dict[str, Request] = {}
        self._unsent: dict[Request, None] = {}  # in their order
        self._last_tag = 0
        self._one_by_one = False  # one of what waits may be what the broker refused
        self._binding = False
        self._refused_binding = False
        self._has_prefix = False

    # --- callers' threads -------------------------------------------------------------------

    def submit(
        self, uuid: str, body: bytes, headers: dict[str, Any], wants_answer: bool
    ) -> Request:
        """Send a request; ``withdraw()`` must follow.

        Args:
            uuid: of the request, unique.
            body: its body.
            headers: more headers.
            wants_answer: its answer goes to the reply queue, not to the service's output queue.

        Raises:
            AMQPError: the session has ended.
        """
        key = self._place.request_key
        routed_by = {"BCC": [key]} if wants_answer and not self._place.prefix else {}
        properties = BasicProperties(
            content_type=CONTENT_TYPE,
            delivery_mode=2,
            headers={**routed_by, **headers, UUID_HEADER: uuid},
            correlation_id=uuid,
            reply_to=self._reply_queue if wants_answer else None,
        )
        outgoing = Outgoing(self._place.exchange, key, body, properties, self._on_published)
        request = outgoing.owner = Request(uuid, outgoing, wants_answer)
        request.may_have_prefix = wants_answer and "BCC" not in headers
        self._requests[uuid] = request
        try:
            self.post(self._add, request)
        except AMQPError:
            del self._requests[uuid]
            raise
        return request

    def next(self, request: Request, deadline: float) -> Any:
        """The next item of a request's inbox.

        Raises:
            CallTimeoutError: nothing came in time.
            AMQPError: the request failed.
        """
        try:
            item = request.inbox.get(timeout=remaining(deadline))
        except queue.Empty:
            raise self._too_late(request) from None
        if isinstance(item, Exception):
            raise item
        return item

    def withdraw(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        self._requests.pop(request.uuid, None)
        if request.give_up():
            self.link.post(self._drop, request)

    def _too_late(self, request: Request) -> CallTimeoutError:
        unsent = request.give_up()
        if unsent:
            self.link.post(self._drop, request)
            text = "was not sent and will not be"
        elif not request.is_confirmed:
            text = "may have been sent: the broker has not confirmed it; it may still be run"
        else:
            text = "has got no answer in time: it may still be run"
        trouble = f" ({self.trouble})" if self.trouble else ""
        return CallTimeoutError(
            f"request {request.uuid} to {self._place.service} {text}{trouble}",
            maybe_sent=not unsent,
        )

    def fail_all(self, error: AMQPError) -> None:
        """(Session) Every caller gets the error."""
        for request in list(self._requests.values()):
            request.inbox.put(type(error)(str(error)))

    # --- I/O thread: sending ----------------------------------------------------------------

    def _add(self, request: Request) -> None:
        self._unsent[request] = None
        self.link.reopen()

    def _drop(self, request: Request) -> None:
        self._unsent.pop(request, None)

    def _send(self) -> None:
        link = self.link
        while self._unsent and link.is_usable and link.clear_to_send.is_set():
            if self._one_by_one and len(link.publisher):
                return
            request = next(iter(self._unsent))
            del self._unsent[request]
            if request.begin():
                outgoing = request.outgoing
                if request.may_have_prefix and self._has_prefix:
                    outgoing.routing_key = self._own_key
                link.publish(outgoing)
        if not self._unsent:
            self._one_by_one = False

    def _on_published(self, outgoing: Outgoing, error: PublishError | None) -> None:
        request: Request = outgoing.owner
        plain_key = self._place.request_key
        if isinstance(error, UnroutableError) and outgoing.routing_key != plain_key:
            # Nothing is bound to the service's key, or this broker knows no BCC.
            request.may_have_prefix = False
            outgoing.routing_key = plain_key
            self._unsent[request] = None
        elif error is not None:
            request.inbox.put(error)
        else:
            request.is_confirmed = True
            if not request.wants_answer:
                request.inbox.put(None)

    # --- I/O thread: the reply queue --------------------------------------------------------

    def on_channel(self, channel: Channel) -> None:
        """(engine) Declare the reply queue, bind it, consume it."""
        channel.queue_declare(
            self._reply_queue,
            durable=True,
            arguments={"x-expires": _REPLY_QUEUE_EXPIRES},
            callback=lambda _frame: self._bind(channel),
        )

    def _bind(self, channel: Channel) -> None:
        self._has_prefix = False
        if self._refused_binding or not self._place.exchange:
            self._refused_binding = False  # the next channel tries again
            self._consume(channel)
            return

        def bound(_frame: Any) -> None:
            self._binding = False
            self._has_prefix = not place.prefix
            self._consume(channel)

        place = self._place
        key = place.answer_key(place.request_key if place.prefix else self._own_key)
        self._binding = True
        channel.queue_bind(self._reply_queue, place.exchange, key, callback=bound)

    def _consume(self, channel: Channel) -> None:
        def with_qos(_frame: Any) -> None:
            channel.basic_consume(
                self._reply_queue,
                on_message_callback=lambda *_: None,
                callback=lambda _frame: self.link.usable(),
            )

        channel.basic_qos(prefetch_count=_PREFETCH, callback=with_qos)

    def on_usable(self) -> None:
        """(engine) Send what waits, and what the last connection left unconfirmed."""
        super().on_usable()
        self._send()

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """(engine) Give an answer to the caller it belongs to."""
        self._last_tag = method.delivery_tag
        uuid = (properties.headers or {}).get(UUID_HEADER) or properties.correlation_id
        request = self._requests.get(uuid) if isinstance(uuid, str) else None
        if request is None:
            logger.info("the answer to %.200s comes too late, nobody waits for it", uuid)
        else:
            request.inbox.put((properties, body))

    def on_batch_end(self) -> None:
        """(engine) Ack what was delivered, send what was submitted."""
        channel = self.link.channel
        if self._last_tag and channel is not None:
            self.link.write([frames.ack_frame(channel.channel_number, self._last_tag, True)])
        self._last_tag = 0
        self._send()

    # --- I/O thread: trouble ----------------------------------------------------------------

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """(engine) Send again what the broker has not confirmed, unless it is what it refused."""
        super().on_down(failure, unconfirmed)
        self._last_tag = 0
        connection = self.link.connection
        by_broker = connection is not None and connection.is_open  # only the channel was closed
        self._refused_binding = self._binding and by_broker
        self._binding = False
        again: dict[Request, None] = {}
        for outgoing in unconfirmed:
            error = self._refusal(outgoing, failure, len(unconfirmed)) if by_broker else None
            if error is None:
                again[outgoing.owner] = None
            else:
                outgoing.owner.inbox.put(error)
        self._one_by_one = by_broker and bool(again)
        self._unsent = {**again, **self._unsent}

    def _refusal(
        self, outgoing: Outgoing, failure: Diagnosis, suspects: int
    ) -> PublishError | None:
        """The broker has closed the channel: was it this message's fault?

        All requests go to one exchange with keys of one form, so a missing exchange or permission
        concerns them all. Other faults (a header, a size) are of one message: if it was not alone,
        all are sent again, one by one.
        """
        limit = self.link.max_message_size
        if failure.code == "too-large":
            size = len(outgoing.body)
            return MessageTooLargeError(size, limit) if size > limit else None
        if failure.code == "no-schema":
            return UnroutableError(str(failure))
        if failure.code in ("ack-timeout", "queue-down"):
            return None
        if suspects == 1 or failure.code in ("no-permission", "not-allowed"):
            return PublishError(str(failure))
        return None

    def on_retry(self, failure: Diagnosis, delay: float) -> bool:
        """(engine) A refused binding costs a channel; the next one does without, at once."""
        if self._refused_binding:
            logger.info("no key prefix, reply_to alone: %s", failure)
            self.link.ioloop.add_callback(self.link.reopen)
            return True
        return super().on_retry(failure, delay)

    def leave(self) -> None:
        """(Session) Delete the reply queue, then close."""
        link = self.link
        if link.is_usable and link.channel is not None:
            link.channel.queue_delete(self._reply_queue, callback=lambda _frame: link.close())
            link.ioloop.call_later(CLOSE_TIMEOUT / 2, link.close)
        else:
            link.stop()
