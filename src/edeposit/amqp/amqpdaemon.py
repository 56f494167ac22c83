"""``AMQPDaemon``: the request and response contract on top of ``PikaDaemon``.

A request carries a ``UUID`` header; its answer, its progress messages and its exception carry the
same one. The protocol is described in ``docs/protocol.rst`` and is compatible with the first
generation (2015); ``reply_to`` and ``correlation_id`` (AMQP 0-9-1 basic properties) are honoured
in addition.

What must stay true: every request gets exactly one final answer or one exception, whatever its
bytes are and whatever ``react_fn`` raises; what cannot be answered is parked, not dropped.
"""

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pika
from pika.spec import Basic, BasicProperties

from edeposit.amqp import contract, settings
from edeposit.amqp.contract import EXCEPTION_CONTENT_TYPE, PROGRESS_HEADER
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.engine.publisher import Outgoing, new_message_id
from edeposit.amqp.errors import PublishError
from edeposit.amqp.pikadaemon import PikaDaemon
from edeposit.amqp.serializers import deserialize, serialize_bytes

logger = logging.getLogger(__name__)

NO_UUID = "No UUID provided, message ignored."

# Passed on from request to answer: W3C trace context, so that a trace spans both.
_PASSED_ON = ("traceparent", "tracestate")
_PASSED_ON_LIMIT = 512

ReactFn = Callable[..., Any]


class _Request:
    """What answering a request needs to know of it."""

    __slots__ = (
        "correlation_id", "headers", "priority", "reply_to", "routing_key", "uuid",
        "wants_progress",
    )  # fmt: skip

    def __init__(self, uuid: Any, routing_key: str, properties: BasicProperties) -> None:
        self.uuid = uuid
        self.routing_key = routing_key
        self.reply_to = properties.reply_to if isinstance(properties.reply_to, str) else None
        self.correlation_id = properties.correlation_id
        self.priority = properties.priority
        headers = properties.headers or {}
        self.wants_progress = headers.get(PROGRESS_HEADER) is True
        self.headers = {
            name: value
            for name in _PASSED_ON
            if isinstance(value := headers.get(name), str) and len(value) <= _PASSED_ON_LIMIT
        }


class AMQPDaemon(PikaDaemon):
    """A daemon that answers requests with what ``react_fn`` returns.

    Args:
        con_param: where to connect; see ``getConParams``.
        queue: the service's input queue.
        out_exch: exchange for the answers.
        out_key: their routing key; a request's dotted prefix is put in front.
        react_fn: ``(message)``, ``(message, UUID)`` or ``(message, send_back)``: the second
            parameter's name decides (``UUID`` or ``uuid`` gets the string, any other name a
            callable that sends progress). Called in a handler thread.
        glob: the namedtuple classes that messages may build: a dict of names (as ``globals()``)
            or the classes.
        options: as of ``PikaDaemon``.
    """

    def __init__(
        self,
        con_param: pika.ConnectionParameters,
        queue: str,
        out_exch: str,
        out_key: str,
        react_fn: ReactFn,
        glob: Mapping[str, Any] | Iterable[type],
        **options: Any,
    ) -> None:
        super().__init__(con_param, queue, out_exch, out_key, **options)
        self.react_fn = react_fn
        self.globals = glob
        self._second = _second_parameter(react_fn)

    # --- the contract -----------------------------------------------------------------------

    def parseKey(self, method_frame: Basic.Deliver) -> str:
        """The answer's routing key: the request's dotted prefix, if any, and the output key."""
        prefix, dot, _ = str(method_frame.routing_key).rpartition(".")
        return f"{prefix}{dot}{self.output_key}"

    def jobKey(self, properties: BasicProperties) -> Any:
        """A redelivered request is recognised by its UUID."""
        uuid = _uuid_of(properties)
        return uuid if uuid is None or isinstance(uuid, str) else repr(uuid)

    def onMessageReceived(
        self, method_frame: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> bool:
        """Answer one request: deserialize, ``react_fn``, serialize, send.

        Returns:
            True, unless the request was parked.
        """
        started = time.monotonic()
        request = _Request(_uuid_of(properties), self.parseKey(method_frame), properties)
        self._current.request = request
        try:
            if request.uuid is None:
                return self._no_uuid(request, method_frame, body)
            try:
                answer = self._react(body, request)
                self._respond(request, serialize_bytes(answer))
            except BaseException as error:
                self.process_exception(error, request.uuid, request.routing_key, body)
                return True
            logger.debug(
                "answered %.200s with key %s in %.3f s", request.uuid, request.routing_key,
                time.monotonic() - started,
            )  # fmt: skip
            return True
        finally:
            self._current.request = None

    def _react(self, body: bytes, request: _Request) -> Any:
        message = deserialize(body, self.globals)
        if self._second == "uuid":
            return self.react_fn(message, request.uuid)
        if self._second == "send_back":
            return self.react_fn(message, self._sendback(request))
        return self.react_fn(message)

    def get_sendback(self, uuid: str, key: str) -> Callable[[Any], None]:
        """A function that sends progress for a request.

        Args:
            uuid: of the request.
            key: routing key of the answer.

        Returns:
            ``send_back(data)``: serializes and sends ``data``, any number of times, before the
            final answer; marked with the header ``x-edeposit-progress``. It may be called from
            other threads as well. Its attribute ``is_wanted`` says whether the request asks for
            progress, by the same header.
        """
        return self._sendback(self._request(uuid, key))

    def _sendback(self, request: _Request) -> Callable[[Any], None]:
        delivery = getattr(self._current, "delivery", None)

        def send_back(data: Any) -> None:
            body = serialize_bytes(data)
            properties = self._properties(request, self.content_type, {PROGRESS_HEADER: True})
            self._answer(request, body, properties, delivery)

        send_back.is_wanted = request.wants_progress  # type: ignore[attr-defined]
        return send_back

    def process_exception(
        self,
        e: BaseException,
        uuid: str,
        routing_key: str,
        body: Any,
        tb: str | None = None,
    ) -> None:
        """Send an exception as the answer.

        Args:
            e: the exception.
            uuid: of the request.
            routing_key: of the answer.
            body: of the request, for overriders; the answer's body is the exception's text.
            tb: formatted traceback; default: that of ``e``.
        """
        request = self._request(uuid, routing_key)
        text = contract.describe(e)
        logger.warning(
            "exception %s: %s for UUID %.200s", type(e).__name__, text[:500], uuid,
            exc_info=e if logger.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
        if not settings.RABBITMQ_SEND_TRACEBACKS:
            tb = None
        elif tb is None:
            tb = contract.format_traceback(e)
        properties = self._exception_properties(request, e, text, tb)
        self._answer(request, contract.body_of(text), properties)

    # --- answers ----------------------------------------------------------------------------

    def _respond(self, request: _Request, body: bytes) -> None:
        self._answer(request, body, self._properties(request, self.content_type))

    def _answer(
        self,
        request: _Request,
        body: bytes,
        properties: BasicProperties,
        delivery: Any = None,
    ) -> None:
        exchange, key = self.output_exchange, request.routing_key
        if request.reply_to:
            exchange, key = "", request.reply_to
        outgoing = self._outgoing(exchange, key, body, properties, None)
        if delivery is not None:
            outgoing.owner = delivery
        self._send(outgoing)

    def _properties(
        self, request: _Request, content_type: str, more: dict[str, Any] | None = None
    ) -> BasicProperties:
        uuid = "" if request.uuid is None else request.uuid
        correlation_id = request.correlation_id
        if correlation_id is None and isinstance(uuid, str) and len(uuid) <= 255 and uuid.isascii():
            correlation_id = uuid or None
        headers: dict[str, Any] = {"UUID": uuid}
        if request.headers:
            headers.update(request.headers)
        if more:
            headers.update(more)
        return BasicProperties(
            content_type=content_type,
            delivery_mode=2,
            headers=headers,
            correlation_id=correlation_id,
            priority=request.priority,
            # Given here, not at publishing: what is measured must be what is sent.
            message_id=new_message_id(),
        )

    def _exception_properties(
        self, request: _Request, error: BaseException, text: str, tb: str | None
    ) -> BasicProperties:
        headers = contract.headers_of(error, text, tb)
        properties = self._properties(request, EXCEPTION_CONTENT_TYPE, headers)
        contract.fit(properties, self._frame_max())
        return properties

    def _request(self, uuid: str, routing_key: str) -> _Request:
        """The request being handled in this thread, if it is this one."""
        request: _Request | None = getattr(self._current, "request", None)
        if request is not None and request.uuid == uuid and request.routing_key == routing_key:
            return request
        return _Request(uuid, routing_key, BasicProperties())

    def replaceUndeliverable(self, outgoing: Outgoing, error: PublishError) -> Outgoing | None:
        """A too large answer is replaced by an exception that names size and limit."""
        properties = outgoing.properties
        if properties.content_type == EXCEPTION_CONTENT_TYPE:
            return None
        uuid = (properties.headers or {}).get("UUID")
        request = _Request(uuid, outgoing.routing_key, properties)
        text = contract.describe(error)
        return Outgoing(
            outgoing.exchange,
            outgoing.routing_key,
            contract.body_of(text),
            self._exception_properties(request, error, text, None),
            self._ledger.on_published,
        )

    def _no_uuid(self, request: _Request, method_frame: Basic.Deliver, body: bytes) -> bool:
        """Without a UUID nobody can pair an answer, unless it has an address of its own."""
        logger.error(
            "delivery %d, key %s: %s", method_frame.delivery_tag, method_frame.routing_key, NO_UUID
        )
        error = ValueError(NO_UUID)
        properties = self._exception_properties(request, error, NO_UUID, None)
        if request.reply_to or "." in str(method_frame.routing_key):
            self._answer(request, body, properties)
            return True
        fallback = self._outgoing(self.output_exchange, request.routing_key, body, properties, None)
        self.park(NO_UUID, fallback)
        return False


def _uuid_of(properties: BasicProperties) -> Any:
    """The request's UUID: its header, else the correlation id of a request with ``reply_to``.

    The first generation took any value of the header and echoed it with its type; so do we.
    """
    uuid = (properties.headers or {}).get("UUID")
    if uuid is None and properties.reply_to:
        uuid = properties.correlation_id
    return None if uuid == "" else uuid


def _second_parameter(react_fn: ReactFn) -> str | None:
    """What the second positional parameter of ``react_fn`` wants: uuid, send_back or None."""
    try:
        parameters = list(inspect.signature(react_fn).parameters.values())
    except (TypeError, ValueError):  # some callables written in C
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        return None
    return "uuid" if positional[1].name in ("UUID", "uuid") else "send_back"


__all__ = ["AMQPDaemon", "getConParams"]
