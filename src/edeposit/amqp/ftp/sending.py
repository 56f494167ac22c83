"""Sends an import, in a form that the broker accepts, and says what cannot be sent in any.

An import's defect is never the sender's end: what has no form in which it can be sent is given
back to its user with a text that says why.
"""

import logging
import uuid as uuid_module
from collections.abc import Callable

from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.names import mark
from edeposit.amqp.ftp.outbox import take_back
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.structures import ImportRequest
from edeposit.amqp.serializers import SerializationError

logger = logging.getLogger(__name__)

Send = Callable[[ImportRequest, str], None]

_MIN_INLINE = 1024  # bytes; less is not worth another try


class UnsendableError(Exception):
    """An import cannot be sent although nothing is in it."""


def deliver(spool: Spool, entry: SpoolEntry, send: Send) -> bool:
    """Send an import.

    Files that make the message too large go by path; what is too large even then goes in parts.
    The whole import has the entry's UUID; a part has one made of that, the same at each try.

    Returns:
        True: it is sent. False: a part of it has to be given back to the user, and the entry is now
        the import that does so, in state ``ready``.

    Raises:
        UnsendableError: not even its texts can be sent.
        OSError, FTPError: the files cannot be read or moved; to be tried again.
        ClosedError: the daemon ends.
    """
    refused = _send_part(spool, entry, send, 0, len(entry.data["items"]))
    if not refused:
        return True
    numbers = []
    lines = []
    for index, reason in refused.items():
        item = entry.data["items"][index]
        for number in (item[key] for key in ("metadata", "ebook") if key in item):
            take_back(spool, entry, number)
            numbers.append(number)
            lines.append(f"Can't send {mark(entry.parts(number))}: {reason}")
    logger.error(
        "%d items of import %s cannot be sent, their user gets them back: %s",
        len(refused),
        entry.uuid,
        next(iter(refused.values())),
    )
    entry.reject(numbers, lines)
    return False


def _send_part(spool: Spool, entry: SpoolEntry, send: Send, start: int, end: int) -> dict[int, str]:
    """Send some of the items; returns those that cannot be sent, with the reason."""
    reason = _try(spool, entry, send, start, end)
    if not reason:
        return {}
    if end - start > 1:
        middle = (start + end) // 2
        return _send_part(spool, entry, send, start, middle) | _send_part(
            spool, entry, send, middle, end
        )
    if start == end:
        raise UnsendableError(reason)
    return {start: reason}


def _try(spool: Spool, entry: SpoolEntry, send: Send, start: int, end: int) -> str:
    """Send some of the items as one message; returns why that is not possible."""
    uuid = entry.uuid
    if end - start != len(entry.data["items"]):
        uuid = str(uuid_module.uuid5(uuid_module.UUID(entry.uuid), f"{start}-{end}"))
    inline = settings.MAX_INLINE_SIZE
    while True:
        try:
            send(build(spool, entry, inline, slice(start, end)), uuid)
        except MessageTooLargeError as error:
            if not inline:
                return str(error)
            # In JSON a file is a third larger, and there is text beside it.
            inline = min(inline // 2, error.limit // 2)
            inline = inline if inline > _MIN_INLINE else 0
        except SerializationError as error:
            return str(error)
        else:
            return ""
