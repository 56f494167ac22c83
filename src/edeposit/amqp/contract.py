"""Every name that travels: headers, content types, parked copies, exceptions as headers.

A content header is one frame, and a frame larger than the negotiated ``frame_max`` makes the
broker close the whole connection (501 FRAME_ERROR). So the encoded size is measured, the
traceback is cut in its middle (its ends say where it began and what happened), then the text.
"""

import copy
import re
import time
import traceback
from collections.abc import Mapping
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

# What a service says beside its answer, and a caller beside its request.
PREFIX = "x-edeposit-"
# Each of such texts, and all of them: there is one frame for all headers.
_HEADER_LIMIT = 256
_HEADER_COUNT = 16

# True in a progress message; True in a request asks for progress.
PROGRESS_HEADER = "x-edeposit-progress"

# True in a request that the daemon answers itself, to say that it is alive.
PING_HEADER = "x-edeposit-ping"
# In a request: "gzip" or "deflate", if its answer may be compressed like that.
ACCEPT_ENCODING_HEADER = "x-edeposit-accept-encoding"

# A parked copy lies in the input queue's name with this suffix, and says why it is there and
# where it was to go.
PARKING_SUFFIX = ".undeliverable"
REASON_HEADER = "x-edeposit-reason"
EXCHANGE_HEADER = "x-edeposit-exchange"
KEY_HEADER = "x-edeposit-routing-key"
TIME_HEADER = "x-edeposit-parked-at"  # seconds since 1970

# Headers by which the broker or its plugins route, delay or drop a message: sender-selected
# distribution (CC, BCC), dead-letter cycles (x-death), the delayed exchange, deduplication.
# https://www.rabbitmq.com/docs/sender-selected
_BROKER_ACTS_ON = frozenset(
    ("CC", "BCC", "x-death", "x-delay", "x-deduplication-header", "x-cache-ttl")
)

_OWN_NAMES = {
    EXACT_NAME_HEADER,
    PROGRESS_HEADER,
    PING_HEADER,
    ACCEPT_ENCODING_HEADER,
    REASON_HEADER,
    EXCHANGE_HEADER,
    KEY_HEADER,
    TIME_HEADER,
}

_WORD = re.compile(r"\S+")
# Text of a remote exception is for people: nobody reads more, and every byte counts twice
# (header and body).
_BODY_LIMIT = 1024 * 1024
_MARK = "\n[... {} characters cut ...]\n"


def parked_properties(
    properties: BasicProperties,
    reason: str,
    exchange: str,
    routing_key: str,
    only_reason: bool = False,
) -> BasicProperties:
    """Properties of a copy that is parked.

    Args:
        properties: of the original; they stay as they are.
        reason: why it is parked; up to 1000 characters are kept.
        exchange: where the original was to go, or came from.
        routing_key: beside it.
        only_reason: drop the original's headers: they do not fit or cannot be encoded.
    """
    parked = copy.copy(properties)
    headers = {} if only_reason else properties.headers or {}
    parked.headers = {
        **{name: value for name, value in headers.items() if name not in _BROKER_ACTS_ON},
        REASON_HEADER: reason[:1000],
        EXCHANGE_HEADER: exchange,
        KEY_HEADER: routing_key,
        TIME_HEADER: int(time.time()),
    }
    parked.delivery_mode = 2
    # An expiration would let the parked copy vanish; user_id is checked against our own user.
    parked.expiration = parked.user_id = None
    parked.message_id = None
    return parked


def name_of(error: BaseException) -> str:
    """The bare name of the exception's class, whatever its metaclass does."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def legacy_name_of(error: BaseException) -> str | None:
    """What the first generation called this exception, whose clients look for that name."""
    try:
        name = getattr(error, "legacy_name", None)
    except BaseException:
        return None
    return name if isinstance(name, str) else None


def parameters_in(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller says beside its request: its headers with our prefix, without it."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in headers.items()
        if isinstance(name, str) and name.startswith(PREFIX)
    }


def headers_from(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a service says beside its answer, as headers: few, short, and none of our own names."""
    return {
        PREFIX + str(name)[:64]: value
        if isinstance(value, bool)
        else scrub(str(value))[:_HEADER_LIMIT]
        for name, value in list(said.items())[:_HEADER_COUNT]
        if PREFIX + str(name) not in _OWN_NAMES
    }


def describe(error: BaseException) -> str:
    """The exception's text, as the first generation sent it; never raises.

    That is its ``message`` attribute if it has one, else ``str()``. Credentials in URLs are
    blanked out.
    """
    try:
        message = getattr(error, "message", None)
        text = str(error) if message is None else str(message)
    except BaseException as second:
        text = f"(the exception's text failed itself: {name_of(second)})"
    return scrub(text)


def format_traceback(error: BaseException) -> str:
    """The formatted, stripped traceback of an exception; never raises."""
    try:
        text = "".join(traceback.format_exception(error)).strip()
    except BaseException as second:
        text = f"(the traceback cannot be formatted: {name_of(second)})"
    return scrub(text)


def scrub(text: str) -> str:
    """Blank out passwords of URLs, and what UTF-8 cannot express."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if "://" not in text:
        return text
    return _WORD.sub(lambda match: _without_password(match[0]), text)


def _without_password(word: str) -> str:
    """Blank what stands between the user's colon and the last ``@``.

    A password may hold ``/`` and ``@``, so a path with an ``@`` is blanked, too.
    """
    scheme, at = word.find("://"), word.rfind("@")
    colon = word.find(":", scheme + 3)
    if scheme < 0 or not 0 <= colon < at:
        return word
    return f"{word[:colon]}:***{word[at:]}"


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
    name = name_of(error)
    return {
        "exception": text,
        # Not str(): a metaclass may have one that raises.
        "exception_type": cut_middle(scrub(type.__repr__(type(error))), 500),
        "exception_name": cut_middle(scrub(legacy_name_of(error) or name), 200),
        EXACT_NAME_HEADER: cut_middle(scrub(name), 200),
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
