"""Exceptions as message headers, cut so that they fit one frame.

A content header is one frame, and a frame larger than the negotiated ``frame_max`` makes the
broker close the whole connection (501 FRAME_ERROR). So the encoded size is measured, the
traceback is cut in its middle (its ends say where it began and what happened), then the text.
"""

import re
import traceback
from typing import Any

from pika.spec import BasicProperties

from edeposit.amqp import settings
from edeposit.amqp.engine import frames

# Names of the first generation; see docs/protocol.rst.
CONTENT_TYPE = "application/json"
EXCEPTION_CONTENT_TYPE = "application/text"
UUID_HEADER = "UUID"

# The class name of an exception. ``exception_name`` holds the name that the first generation
# (2015) used for the same fault, for which its clients look; mostly the two are equal.
EXACT_NAME_HEADER = "x-edeposit-exception-name"

# True in a progress message; True in a request asks for progress.
PROGRESS_HEADER = "x-edeposit-progress"

# True in a request that the daemon answers itself, to say that it is alive.
PING_HEADER = "x-edeposit-ping"

# A parked copy lies in the input queue's name with this suffix, and says why it is there and
# where it was to go.
PARKING_SUFFIX = ".undeliverable"
REASON_HEADER = "x-edeposit-reason"
EXCHANGE_HEADER = "x-edeposit-exchange"
KEY_HEADER = "x-edeposit-routing-key"

_CREDENTIALS = re.compile(r"(\w://[^\s/:@]*):[^\s/@]+@")
# Text of a remote exception is for people: nobody reads more, and every byte counts twice
# (header and body).
_BODY_LIMIT = 1024 * 1024
_MARK = "\n[... {} characters cut ...]\n"


def describe(error: BaseException) -> str:
    """The exception's text, as the first generation sent it; never raises.

    That is its ``message`` attribute if it has one, else ``str()``. Credentials in URLs are
    blanked out.
    """
    try:
        message = getattr(error, "message", None)
        text = str(error) if message is None else str(message)
    except BaseException as second:
        text = f"(the exception's text failed itself: {type(second).__name__})"
    return scrub(text)


def format_traceback(error: BaseException) -> str:
    """The formatted, stripped traceback of an exception; never raises."""
    try:
        text = "".join(traceback.format_exception(error)).strip()
    except BaseException as second:
        text = f"(the traceback cannot be formatted: {type(second).__name__})"
    return scrub(text)


def scrub(text: str) -> str:
    """Blank out passwords of URLs, and what UTF-8 cannot express."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CREDENTIALS.sub(r"\1:***@", text)


def cut_middle(text: str, room: int) -> str:
    """Cut text to at most ``room`` bytes of UTF-8, out of its middle, with a mark.

    No character is cut in half.
    """
    data = text.encode("utf-8")
    if len(data) <= room:
        return text
    keep = room - len(_MARK.format(len(text)))
    if keep <= 0:
        return data[: max(room, 0)].decode("utf-8", "ignore")
    head = data[: keep // 2].decode("utf-8", "ignore")
    tail = data[len(data) - (keep - keep // 2) :].decode("utf-8", "ignore")
    return head + _MARK.format(len(text) - len(head) - len(tail)) + tail


def fit(properties: BasicProperties, frame_max: int) -> None:
    """Cut ``traceback``, then ``exception``, until the content header fits one frame.

    Args:
        properties: their headers are changed in place.
        frame_max: negotiated largest frame in bytes.
    """
    headers: dict[str, Any] = properties.headers
    share = frame_max // 4
    for name, least in (
        ("traceback", share),
        ("exception", share),
        ("traceback", 0),
        ("exception", 0),
    ):
        excess = frames.header_frame_size(properties) - frame_max
        if excess <= 0:
            return
        value = headers.get(name)
        if value:
            size = len(value.encode("utf-8"))
            headers[name] = cut_middle(value, max(size - excess, min(least, size)))


def headers_of(error: BaseException, text: str, tb: str | None) -> dict[str, Any]:
    """The headers by which a message is an exception.

    Args:
        error: the exception.
        text: from ``describe``.
        tb: formatted traceback; None: without.
    """
    kind = type(error)
    legacy_name = getattr(error, "legacy_name", None)
    return {
        "exception": text,
        "exception_type": cut_middle(str(kind), 500),
        "exception_name": cut_middle(str(legacy_name or kind.__name__), 200),
        EXACT_NAME_HEADER: cut_middle(kind.__name__, 200),
        "traceback": tb,
    }


def as_message(error: BaseException, uuid: str, frame_max: int) -> tuple[BasicProperties, bytes]:
    """An exception as a message that answers nothing: of a program that sends unasked.

    Args:
        error: the exception.
        uuid: of the message.
        frame_max: negotiated largest frame in bytes.

    Returns:
        Properties and body.
    """
    text = describe(error)
    tb = format_traceback(error) if settings.RABBITMQ_SEND_TRACEBACKS else None
    properties = BasicProperties(
        content_type=EXCEPTION_CONTENT_TYPE,
        delivery_mode=2,
        headers={"UUID": uuid, **headers_of(error, text, tb)},
    )
    fit(properties, frame_max)
    return properties, body_of(text)


def body_of(text: str) -> bytes:
    """The body of an exception message: its text, up to 1 MiB."""
    return cut_middle(text, _BODY_LIMIT).encode("utf-8")
