"""The message of an import."""

import os
from typing import Any

from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.decoders import as_text
from edeposit.amqp.ftp.names import joined, on_wire, unmark
from edeposit.amqp.ftp.outbox import hand_over
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.structures import DataPair, EbookFile, ImportRequest, MetadataFile

_MAX_LOG = 64 * 1024  # characters of each log in a message


def build(
    spool: Spool,
    entry: SpoolEntry,
    inline_size: int | None = None,
    part: slice | None = None,
) -> ImportRequest:
    """Make the message of an import, or of a part of it.

    Args:
        spool: where the entry is.
        entry: in state ``ready`` or later.
        inline_size: bytes of files that may be in the message; the others go to the outbox.
            None: the setting MAX_INLINE_SIZE.
        part: of the items; None: all. The errors are only in the part that begins at 0.

    Raises:
        OSError: a file cannot be read or moved.
        FTPError: there is no group OUTBOX_GROUP.
    """
    rest = settings.MAX_INLINE_SIZE if inline_size is None else inline_size

    def content(number: int) -> tuple[str, bytes | None]:
        nonlocal rest
        try:
            file = open(entry.open(number), "rb")  # noqa: SIM115  (closed by the with below)
        except FileNotFoundError:  # handed over by path before a crash, and is again
            return hand_over(spool, entry, number), None
        with file:
            size = os.fstat(file.fileno()).st_size
            if size <= rest:
                rest -= size
                return on_wire("/".join((*_base(entry), *entry.parts(number)))), file.read()
        return hand_over(spool, entry, number), None

    requests: list[Any] = []
    for item in entry.data["items"][part or slice(None)]:
        metadata = ebook = None
        if "metadata" in item:
            name, data = content(item["metadata"])
            text = None if data is None else as_text(name, data)
            metadata = MetadataFile(name, text, EPublication(**item["parsed"]))
        if "ebook" in item:
            ebook = EbookFile(*content(item["ebook"]))
        requests.append(DataPair(metadata, ebook) if metadata and ebook else metadata or ebook)
    errors, told = texts(entry, on_wire("/".join(_base(entry))) + "/", _MAX_LOG, part)
    return ImportRequest(entry.data["username"], requests, told, errors)


def texts(entry: SpoolEntry, prefix: str, limit: int, part: slice | None = None) -> tuple[str, str]:
    """Error log and import log.

    Args:
        entry: in state ``ready`` or later.
        prefix: what is put before each path.
        limit: characters of each; what is left out is counted.
        part: of the items, as of ``build``.
    """
    part = part or slice(None)
    errors = [] if part.start else entry.data["errors"]
    told = entry.data["told"][part]
    return (
        joined((unmark(text, prefix) for text in errors), limit),
        joined((unmark(text, prefix) for text in told), limit),
    )


def _base(entry: SpoolEntry) -> tuple[str, ...]:
    home, *below = entry.place
    return (home.rstrip("/"), *below)
