"""What answering a request needs to know of it, for ``AMQPDaemon``."""

from typing import Any

from pika.spec import BasicProperties

from edeposit.amqp.contract import ACCEPT_ENCODING_HEADER, PROGRESS_HEADER, parameters_in
from edeposit.amqp.engine.deliveries import Delivery

# Passed on from request to answer: W3C trace context, so that a trace spans both.
_PASSED_ON = ("traceparent", "tracestate")
_PASSED_ON_LIMIT = 512


class Request:
    """What answering a request needs to know of it."""

    __slots__ = (
        "accept_encoding",
        "answer_headers",
        "correlation_id",
        "delivery",
        "priority",
        "reply_to",
        "routing_key",
        "said",
        "uuid",
        "wants_progress",
    )

    def __init__(
        self,
        uuid: Any,
        routing_key: str,
        properties: BasicProperties,
        delivery: Delivery | None = None,
    ) -> None:
        self.uuid = uuid
        self.routing_key = routing_key
        self.delivery = delivery
        self.reply_to = properties.reply_to if isinstance(properties.reply_to, str) else None
        self.correlation_id = properties.correlation_id
        self.priority = properties.priority
        headers = properties.headers or {}
        self.wants_progress = headers.get(PROGRESS_HEADER) is True
        self.accept_encoding = headers.get(ACCEPT_ENCODING_HEADER)
        self.said = headers
        self.answer_headers: dict[str, Any] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """What the caller says beside the request."""
        return parameters_in(self.said)

    def passed_on(self) -> dict[str, Any]:
        """The headers that every answer carries as well."""
        said = self.said
        if not said or said.keys().isdisjoint(_PASSED_ON):
            return {}
        return {
            name: value
            for name in _PASSED_ON
            if isinstance(value := said.get(name), str) and len(value) <= _PASSED_ON_LIMIT
        }


class AnswerKey(str):
    """An answer's routing key that carries its request through a user's override."""

    request: Request


def answer_key(request: Request) -> AnswerKey:
    """The answer's routing key, for a user's hook to pass on."""
    key = AnswerKey(request.routing_key)
    key.request = request
    return key


def request_of(uuid: str, routing_key: str) -> Request:
    """The request that a hook's arguments belong to."""
    request = getattr(routing_key, "request", None)
    if isinstance(request, Request) and request.uuid == uuid:
        return request
    return Request(uuid, routing_key, BasicProperties())


def uuid_of(properties: BasicProperties) -> Any:
    """The request's UUID: its header, else the correlation id of a request with ``reply_to``.

    The first generation took any value of the header and echoed it with its type; so do we.
    """
    uuid = (properties.headers or {}).get("UUID")
    if uuid is None and properties.reply_to:
        uuid = properties.correlation_id
    return None if uuid == "" else uuid
