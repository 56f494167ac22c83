"""``AMQPClient``: the calling end of the contract.

One connection, kept by a background thread, serves any number of calling threads. Answers come
back through one durable queue of the client's own, named in ``reply_to``; it outlives a lost
connection and a broker restart, so a call in flight is answered after them. The queue is deleted
by ``close()`` and expires by itself after a crash.

What must stay true: a call ends with its answer, a ``RemoteError``, or an error within its
time-out; it never hangs, and an answer never reaches a call that it does not belong to.
"""

import logging
import queue
import threading
import time
import uuid as uuid_module
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import settings
from edeposit.amqp.contract import PROGRESS_HEADER
from edeposit.amqp.engine.acks import AckMerger
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import (
    AMQPError,
    CallTimeoutError,
    ClosedError,
    MessageTooLargeError,
    PublishError,
    RemoteError,
)
from edeposit.amqp.serializers import deserialize, serialize_bytes

logger = logging.getLogger(__name__)

# The reply queue of a client that crashed goes away after this time without a consumer (ms).
_REPLY_QUEUE_EXPIRES = 10 * 60 * 1000
_PREFETCH = 500
_CLOSE_TIMEOUT = 10.0


class Answer(NamedTuple):
    """A message from a service.

    Attributes:
        uuid: of the request; None if the message carries none.
        value: the deserialized answer; None for an exception.
        error: the exception the service answered with, else None.
        is_progress: True if the final answer is still to come.
    """

    uuid: str | None
    value: Any
    error: RemoteError | None
    is_progress: bool

    def result(self) -> Any:
        """The value.

        Raises:
            RemoteError: the service answered with an exception.
        """
        if self.error is not None:
            raise self.error
        return self.value


class _Message(NamedTuple):
    serial: int
    properties: BasicProperties
    body: bytes


_Inbox = queue.SimpleQueue  # of _Message, or of an exception that ends the call


class AMQPClient:
    """Calls one service. Usable from many threads at once; a context manager.

    Args:
        service: its name in ``settings.get_amqp_settings()``, such as ``"antivirus"``.
        glob: namedtuple classes that answers may build, as dict of names or as classes; default:
            those of the service's package.
        parameters: where to connect; default: the service's virtual host, from the settings.
        timeout: seconds that a call waits when it is not told otherwise.
        key_prefix: put in front of the request's routing key, with a dot.
    """

    def __init__(
        self,
        service: str,
        *,
        glob: Mapping[str, Any] | Iterable[type] | None = None,
        parameters: pika.ConnectionParameters | None = None,
        timeout: float = 60.0,
        key_prefix: str = "",
    ) -> None:
        try:
            self._config = settings.get_amqp_settings()[service]
        except KeyError as error:
            raise AMQPError(f"there is no service {service!r} in the settings") from error
        self.service = service
        self.timeout = timeout
        self.routing_key = f"{key_prefix}.{self._config['in_key']}" if key_prefix else (
            self._config["in_key"]
        )  # fmt: skip
        self._parameters = parameters
        if glob is None:
            from edeposit.amqp.registry import class_table

            glob = class_table(service)
        self._glob = glob
        self.reply_queue = f"edeposit.reply.{uuid_module.uuid4()}"
        self._lock = threading.Lock()
        self._link: BrokerConnection | None = None
        self._thread: threading.Thread | None = None
        self._calls: dict[str, _Inbox[Any]] = {}
        self._received: _Inbox[Any] = queue.SimpleQueue()
        self._receiving = False
        self._acks = AckMerger()
        self._reply_tag = ""
        self._receive_tag = ""
        self._usable = threading.Event()
        self._was_usable = False
        self._resend: list[Outgoing] = []
        self._start_failure: Diagnosis | None = None
        self._trouble = ""
        self._closed = False

    # --- for callers ------------------------------------------------------------------------

    def __enter__(self) -> "AMQPClient":
        self.connect()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect now; ``call`` and its like do it by themselves.

        Raises:
            AMQPError: there is no broker, no virtual host, no permission; in one line.
            ClosedError: the client has been closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the client is closed")
            if self._thread is None:
                self._link = BrokerConnection(
                    lambda: self._parameters or getConParams(self._config["vhost"]),
                    self,
                    confirm_timeout=lambda: settings.RABBITMQ_CONFIRM_TIMEOUT,
                    max_message_size=settings.RABBITMQ_MAX_MESSAGE_SIZE,
                )
                self._start_failure = None
                self._usable.clear()
                self._thread = threading.Thread(
                    target=self._link.run, name=f"amqp-client-{self.service}", daemon=True
                )
                self._thread.start()
        self._usable.wait()
        failure = self._start_failure
        if failure is not None:
            with self._lock:
                if self._thread is not None:
                    self._thread.join(_CLOSE_TIMEOUT)
                self._thread = self._link = None
            raise AMQPError(str(failure))

    def call(
        self,
        request: Any,
        timeout: float | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send a request and wait for its answer.

        Args:
            request: a namedtuple of the service, any JSON-like data, or ``bytes`` of JSON to be
                sent as they are.
            timeout: seconds for the whole call; None is the client's default.
            on_progress: called in this thread with each progress message, before the answer. The
                request then asks for progress, which some services only send to who asks.

        Returns:
            The answer.

        Raises:
            RemoteError: the service answered with an exception.
            CallTimeoutError: no answer in time; the request may still be, or have been, run.
            UnroutableError: no daemon's queue is bound to the request's key.
            MessageTooLargeError: the broker does not take a message of this size.
            SerializationError: the request cannot be sent, or the answer not be understood.
            ClosedError: the client was closed meanwhile.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        body = _to_body(request)
        uuid = str(uuid_module.uuid4())
        inbox: _Inbox[Any] = queue.SimpleQueue()
        self.connect()
        self._calls[uuid] = inbox
        try:
            wanted = {PROGRESS_HEADER: True} if on_progress is not None else {}
            self._publish(uuid, body, deadline, inbox, self.reply_queue, wanted)
            while True:
                answer = self._to_answer(self._next(inbox, deadline, uuid))
                if not answer.is_progress:
                    return answer.result()
                if on_progress is not None:
                    on_progress(answer.value)
        finally:
            del self._calls[uuid]

    def send(self, request: Any, timeout: float | None = None) -> str:
        """Send a request whose answer goes to the service's output queue, for ``receive()``.

        Args:
            request: as for ``call``.
            timeout: seconds to wait for the broker's confirm; None is the client's default.

        Returns:
            Its UUID, once the broker has confirmed it.

        Raises:
            CallTimeoutError, UnroutableError, MessageTooLargeError, ClosedError: as ``call``.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        body = _to_body(request)
        uuid = str(uuid_module.uuid4())
        inbox: _Inbox[Any] = queue.SimpleQueue()
        self.connect()
        self._publish(uuid, body, deadline, inbox, None, {})
        self._next(inbox, deadline, uuid)
        return uuid

    def receive(self, timeout: float | None = None) -> Answer:
        """Take the next message from the service's output queue, whoever asked for it.

        Args:
            timeout: seconds to wait; None is the client's default.

        Returns:
            The answer, progress or exception; it is acked when this returns.

        Raises:
            CallTimeoutError: nothing came in time.
            ClosedError: the client was closed meanwhile.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        self.connect()
        link = self._open_link()
        if not self._receiving:
            self._receiving = True
            link.post(lambda _none: self._consume_output(), None)
        message = self._next(self._received, deadline, None)
        try:
            return self._to_answer(message)
        finally:
            link.post(self._settle, message.serial)

    def close(self) -> None:
        """End all calls with ``ClosedError``, delete the reply queue, disconnect. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            link, thread = self._link, self._thread
        if link is not None and thread is not None and thread.is_alive():
            link.post(lambda _none: self._leave(), None)
            thread.join(_CLOSE_TIMEOUT)
        for inbox in (*self._calls.values(), self._received):
            inbox.put(ClosedError("the client was closed"))

    # --- caller's threads -------------------------------------------------------------------

    def _open_link(self) -> BrokerConnection:
        link = self._link
        if link is None:
            raise ClosedError("the client is closed")
        return link

    def _publish(
        self,
        uuid: str,
        body: bytes,
        deadline: float,
        inbox: "_Inbox[Any]",
        reply_to: str | None,
        headers: dict[str, Any],
    ) -> None:
        link = self._open_link()
        if not link.clear_to_send.wait(max(deadline - time.monotonic(), 0)):
            raise CallTimeoutError(f"not sent, the broker cannot take messages: {self._trouble}")
        if link.max_message_size and len(body) > link.max_message_size:
            raise MessageTooLargeError(len(body), link.max_message_size)
        properties = BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            headers={"UUID": uuid, **headers},
            correlation_id=uuid,
            reply_to=reply_to,
        )
        outgoing = Outgoing(
            self._config["exchange"], self.routing_key, body, properties, self._on_published, inbox
        )
        link.post(self._publish_or_keep, outgoing)

    def _next(self, inbox: "_Inbox[Any]", deadline: float, uuid: str | None) -> Any:
        try:
            item = inbox.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            what = f"request {uuid}: it may still be run" if uuid else "the output queue"
            trouble = f" ({self._trouble})" if self._trouble else ""
            raise CallTimeoutError(
                f"no answer in time from {self.service}, {what}{trouble}"
            ) from None
        if isinstance(item, Exception):
            raise item
        return item

    def _to_answer(self, message: _Message) -> Answer:
        headers = message.properties.headers or {}
        uuid = headers.get("UUID")
        if "exception_name" in headers or "exception" in headers:
            error = RemoteError(
                str(headers.get("exception_name")),
                str(headers.get("exception") or message.body.decode("utf-8", "replace")),
                headers.get("traceback"),
                uuid,
            )
            return Answer(uuid, None, error, False)
        value = deserialize(message.body, self._glob)
        return Answer(uuid, value, None, bool(headers.get(PROGRESS_HEADER)))

    # --- I/O thread -------------------------------------------------------------------------

    def _on_published(self, outgoing: Outgoing, error: PublishError | None) -> None:
        if error is not None:
            outgoing.owner.put(error)
        elif outgoing.properties.reply_to is None:
            outgoing.owner.put(outgoing.properties.headers["UUID"])

    def on_channel(self, channel: Channel) -> None:
        """(engine) Declare the reply queue and consume it."""

        def declared(_frame: Any) -> None:
            channel.basic_qos(prefetch_count=_PREFETCH, callback=with_qos)

        def with_qos(_frame: Any) -> None:
            self._reply_tag = channel.basic_consume(
                self.reply_queue, on_message_callback=lambda *_: None, callback=consuming
            )
            if self._receiving:
                self._consume_output()

        def consuming(_frame: Any) -> None:
            self._open_link().usable()

        channel.queue_declare(
            self.reply_queue,
            durable=True,
            arguments={"x-expires": _REPLY_QUEUE_EXPIRES},
            callback=declared,
        )

    def _consume_output(self) -> None:
        channel = self._open_link().channel
        if channel is not None and channel.is_open:
            self._receive_tag = channel.basic_consume(
                self._config["out_queue"], on_message_callback=lambda *_: None
            )

    def _publish_or_keep(self, outgoing: Outgoing) -> None:
        link = self._open_link()
        if link.is_usable:
            link.publish(outgoing)
        else:
            self._resend.append(outgoing)

    def on_usable(self) -> None:
        """(engine) Send what the last connection has left unconfirmed."""
        self._was_usable = True
        self._trouble = ""
        resend, self._resend = self._resend, []
        for outgoing in resend:
            is_call = outgoing.properties.reply_to is not None
            if not is_call or outgoing.properties.correlation_id in self._calls:
                self._open_link().publish(outgoing)
        self._usable.set()

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """(engine) Give an answer to the call it belongs to."""
        serial = self._acks.delivered(method.delivery_tag)
        message = _Message(serial, properties, body)
        if method.consumer_tag != self._reply_tag:
            self._received.put(message)
            return
        uuid = (properties.headers or {}).get("UUID") or properties.correlation_id
        inbox = self._calls.get(uuid) if isinstance(uuid, str) else None
        if inbox is None:
            logger.info("answer to %s comes too late, nobody waits for it", uuid)
        else:
            inbox.put(message)
        self._acks.settle(serial)

    def _settle(self, serial: int) -> None:
        self._acks.settle(serial)

    def on_batch_end(self) -> None:
        """(engine)"""
        link = self._link
        if self._acks.waiting and link is not None and link.channel is not None:
            link.write(self._acks.take(link.channel.channel_number))

    def on_cancelled(self) -> None:
        """(engine) The reply queue was deleted: declare it anew on a new channel."""
        link = self._open_link()
        if link.channel is not None and link.channel.is_open:
            link.channel.close(320, "consumer cancelled by the broker")

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """(engine) What the broker has not confirmed is kept, to be sent again as it was."""
        self._acks.reset()
        self._trouble = str(failure)
        link = self._link
        for outgoing in unconfirmed:
            limit = link.max_message_size if link is not None else 0
            if failure.code == "too-large" and len(outgoing.body) > limit:
                outgoing.owner.put(MessageTooLargeError(len(outgoing.body), limit))
            else:
                self._resend.append(outgoing)

    def on_retry(self, failure: Diagnosis, delay: float) -> bool:
        """(engine) The first connection must work at once; later ones are tried for ever."""
        if not self._was_usable:
            self._start_failure = failure
            self._usable.set()
            return False
        logger.warning("%s; next attempt in %.1f s", failure, delay)
        return True

    def on_blocked(self, blocked: bool) -> None:
        """(engine)"""
        self._trouble = "the broker is blocked (memory or disk alarm)" if blocked else ""

    def on_tick(self) -> None:
        """(engine)"""

    def _leave(self) -> None:
        link = self._link
        if link is None:
            return
        if link.is_usable and link.channel is not None:
            link.channel.queue_delete(self.reply_queue, callback=lambda _frame: link.close())
            link.ioloop.call_later(_CLOSE_TIMEOUT / 4, link.close)
        else:
            link.close()


def _to_body(request: Any) -> bytes:
    return request if isinstance(request, bytes) else serialize_bytes(request)
