"""Messages from a service, read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pika.spec import BasicProperties

from edeposit.amqp.contract import EXACT_NAME_HEADER, PROGRESS_HEADER, UUID_HEADER
from edeposit.amqp.errors import AMQPError, RemoteError
from edeposit.amqp.serializers import SerializationError, deserialize
from edeposit.amqp.serializers.compression import decompress


class UnreadableError(AMQPError, SerializationError):
    """A message in the output queue cannot be read; it was returned to the queue.

    Attributes:
        uuid: its UUID; None if it carries none.
        headers: all its headers.
        raw: its body.
    """

    def __init__(
        self, queue: str, properties: BasicProperties, body: bytes, cause: Exception
    ) -> None:
        self.headers = dict(properties.headers or {})
        self.uuid = self.headers.get(UUID_HEADER)
        self.raw = body
        super().__init__(
            f"message {self.uuid!r:.200} cannot be read and was returned to the queue {queue!r}:"
            f" {cause}; it begins with {body[:200]!r}"
        )


class Answer(NamedTuple):
    """A message from a service.

    Attributes:
        uuid: of the request, mostly a str; None if the message carries none.
        value: the deserialized answer; None for an exception.
        error: the exception the service answered with, else None.
        is_progress: True if the final answer is still to come.
        headers: all headers of the message; what a service says beside its answer begins with
            ``x-edeposit-``.
    """

    uuid: Any
    value: Any
    error: RemoteError | None
    is_progress: bool
    headers: Mapping[str, Any]

    def result(self) -> Any:
        """The value.

        Raises:
            RemoteError: the service answered with an exception.
        """
        if self.error is not None:
            raise self.error
        return self.value


def read(properties: BasicProperties, body: bytes, classes: Mapping[str, Any]) -> Answer:
    """Turn a message into an ``Answer``.

    Raises:
        SerializationError: its body cannot be read; ``raw`` is the body.
    """
    headers = properties.headers or {}
    uuid = headers.get(UUID_HEADER)
    if "exception_name" in headers or "exception" in headers:
        return Answer(uuid, None, _remote_error(headers, body, uuid), False, headers)
    try:
        value = deserialize(decompress(body, properties.content_encoding), classes)
    except SerializationError as error:
        error.raw = body
        raise
    return Answer(uuid, value, None, bool(headers.get(PROGRESS_HEADER)), headers)


def _remote_error(headers: Mapping[str, Any], body: bytes, uuid: Any) -> RemoteError:
    old_name = str(headers.get("exception_name"))
    traceback = headers.get("traceback")
    return RemoteError(
        str(headers.get(EXACT_NAME_HEADER) or old_name),
        str(headers.get("exception") or body.decode("utf-8", "replace")),
        None if traceback is None else str(traceback),
        uuid,
        old_name,
    )
