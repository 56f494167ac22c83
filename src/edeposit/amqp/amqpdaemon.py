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
from edeposit.amqp._request import Request, answer_key, request_of, uuid_of
from edeposit.amqp.contract import (
    EXCEPTION_CONTENT_TYPE,
    PROGRESS_HEADER,
)
from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.hooks import tell
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.engine.publisher import Outgoing, new_message_id
from edeposit.amqp.errors import DeadlyRequestError, PublishError
from edeposit.amqp.pikadaemon import PikaDaemon
from edeposit.amqp.serializers import deserialize, serialize_bytes
from edeposit.amqp.serializers.compression import compress, decompress

logger = logging.getLogger(__name__)

NO_UUID = "No UUID provided, message ignored."

ReactFn = Callable[..., Any]


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
        """The answer's routing key: the request's dotted prefix, if any, and the output key.

        A message that came through the default exchange has its queue's name for a key, and so no
        prefix.
        """
        if not method_frame.exchange:
            return self.output_key
        prefix, dot, _ = str(method_frame.routing_key).rpartition(".")
        return f"{prefix}{dot}{self.output_key}"

    def jobKey(self, properties: BasicProperties) -> Any:
        """A redelivered request is recognised by its UUID."""
        uuid = uuid_of(properties)
        return uuid if uuid is None or isinstance(uuid, str) else repr(uuid)

    def onMessageReceived(
        self, method_frame: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> bool:
        """Answer one request: deserialize, ``react_fn``, serialize, send.

        Returns:
            True, unless the request was parked.
        """
        is_told = logger.isEnabledFor(logging.DEBUG)
        started = time.monotonic() if is_told else 0.0
        request = self._new_request(method_frame, properties)
        if request.uuid is None:
            return self._no_uuid(request, method_frame, body)
        try:
            if properties.content_encoding is not None:
                body = decompress(body, properties.content_encoding)
            answer = self._react(body, request)
            self._respond(request, serialize_bytes(answer))
        except BaseException as error:
            self.process_exception(error, request.uuid, answer_key(request), body)
            return True
        if is_told:
            logger.debug(
                "answered %.200s with key %s in %.3f s",
                request.uuid,
                request.routing_key,
                time.monotonic() - started,
            )
        return True

    def _react(self, body: bytes, request: Request) -> Any:
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
            progress, by the same header; ``redelivered`` whether the broker has delivered the
            request before, so that another process may have run it, or begun to; ``uuid`` is the
            request's; ``parameters`` its headers ``x-edeposit-...`` without that prefix; and what
            is put into the dict ``headers`` becomes such headers of the final answer.
        """
        return self._sendback(request_of(uuid, key))

    def _sendback(self, request: Request) -> Callable[[Any], None]:
        def send_back(data: Any) -> None:
            properties = self._properties(request, self.content_type, {PROGRESS_HEADER: True})
            self._answer(request, serialize_bytes(data), properties)

        redelivered = request.delivery is not None and bool(request.delivery.method.redelivered)
        send_back.is_wanted = request.wants_progress  # type: ignore[attr-defined]
        send_back.redelivered = redelivered  # type: ignore[attr-defined]
        send_back.uuid = request.uuid  # type: ignore[attr-defined]
        send_back.parameters = request.parameters  # type: ignore[attr-defined]
        send_back.headers = request.answer_headers  # type: ignore[attr-defined]
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
            routing_key: of the answer. What ``onMessageReceived`` gives here also carries the
                request's ``reply_to`` and the like: pass it on as it is.
            body: of the request, for overriders; the answer's body is the exception's text.
            tb: formatted traceback; default: that of ``e``.
        """
        request = request_of(uuid, routing_key)
        text = contract.describe(e)
        if not settings.RABBITMQ_SEND_TRACEBACKS:
            tb = None
        elif tb is None:
            tb = contract.format_traceback(e)
        properties = self._exception_properties(request, e, text, tb)
        self._answer(request, contract.body_of(text), properties)
        tell(
            logger,
            logging.WARNING,
            "exception %s: %s for UUID %.200s",
            contract.name_of(e),
            text[:500],
            uuid,
            exc_info=e if logger.isEnabledFor(logging.DEBUG) else None,
        )

    # --- answers ----------------------------------------------------------------------------

    def _respond(self, request: Request, body: bytes) -> None:
        more = None
        if request.answer_headers:
            more = contract.headers_from(request.answer_headers)
        properties = self._properties(request, self.content_type, more)
        if request.accept_encoding is not None:
            encoding, body = compress(body, request.accept_encoding)
            properties.content_encoding = encoding
        self._answer(request, body, properties)

    def _answer(self, request: Request, body: bytes, properties: BasicProperties) -> None:
        self._send(self._to_answer(request, body, properties))

    def _to_answer(self, request: Request, body: bytes, properties: BasicProperties) -> Outgoing:
        exchange, key = self.output_exchange, request.routing_key
        if request.reply_to:
            exchange, key = "", request.reply_to
        return self._checked(exchange, key, body, properties, owner=request.delivery, own_id=True)

    def _properties(
        self, request: Request, content_type: str, more: dict[str, Any] | None = None
    ) -> BasicProperties:
        uuid = "" if request.uuid is None else request.uuid
        correlation_id = request.correlation_id
        if correlation_id is None and isinstance(uuid, str) and len(uuid) <= 255 and uuid.isascii():
            correlation_id = uuid or None
        headers: dict[str, Any] = {"UUID": uuid}
        headers.update(request.passed_on())
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
        self, request: Request, error: BaseException, text: str, tb: str | None
    ) -> BasicProperties:
        headers = contract.headers_of(error, text, tb)
        properties = self._properties(request, EXCEPTION_CONTENT_TYPE, headers)
        contract.fit(properties, self._frame_max())
        return properties

    def replaceUndeliverable(self, outgoing: Outgoing, error: PublishError) -> Outgoing | None:
        """A too large answer is replaced by an exception that names size and limit."""
        properties = outgoing.properties
        if properties.content_type == EXCEPTION_CONTENT_TYPE:
            return None
        uuid = (properties.headers or {}).get("UUID")
        request = Request(uuid, outgoing.routing_key, properties)
        text = contract.describe(error)
        return Outgoing(
            outgoing.exchange,
            outgoing.routing_key,
            contract.body_of(text),
            self._exception_properties(request, error, text, None),
            self._ledger.on_published,
            own_id=True,
        )

    def _refuse(self, delivery: Delivery, error: DeadlyRequestError | MemoryError) -> None:
        request = self._new_request(delivery.method, delivery.properties)
        if request.uuid is not None:
            self.process_exception(error, request.uuid, answer_key(request), delivery.body)
            if isinstance(error, MemoryError):  # its sender knows now, and can send less
                self._running_link().post(self._ledger.finish, delivery)
                return
        super()._refuse(delivery, error)

    def _new_request(self, method_frame: Basic.Deliver, properties: BasicProperties) -> Request:
        delivery = getattr(self._current, "delivery", None)
        return Request(uuid_of(properties), self.parseKey(method_frame), properties, delivery)

    def _no_uuid(self, request: Request, method_frame: Basic.Deliver, body: bytes) -> bool:
        """Without a UUID nobody can pair an answer, unless it has an address of its own."""
        logger.error(
            "delivery %d, key %s: %s", method_frame.delivery_tag, method_frame.routing_key, NO_UUID
        )
        error = ValueError(NO_UUID)
        properties = self._exception_properties(request, error, NO_UUID, None)
        has_prefix = method_frame.exchange and "." in str(method_frame.routing_key)
        if request.reply_to or has_prefix:
            self._answer(request, body, properties)
            return True
        self.park(NO_UUID, self._to_answer(request, body, properties))
        return False


def _second_parameter(react_fn: ReactFn) -> str | None:
    """What the second positional parameter of ``react_fn`` wants: uuid, send_back or None."""
    try:
        parameters = list(inspect.signature(react_fn).parameters.values())
    except (TypeError, ValueError):  # some callables written in C
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        # react_fn(*args) gets what the first generation gave it: the message and send_back.
        takes_more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        return "send_back" if takes_more else None
    return "uuid" if positional[1].name in ("UUID", "uuid") else "send_back"


__all__ = ["AMQPDaemon", "getConParams"]
