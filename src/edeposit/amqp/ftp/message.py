"""The message of an import."""

from typing import Any

from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.names import text_of, unmark
from edeposit.amqp.ftp.pairing import Parts
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.structures import DataPair, EbookFile, ImportRequest, MetadataFile


def build(spool: Spool, entry: SpoolEntry, inline_size: int | None = None) -> ImportRequest:
    """Make the message of an import.

    Args:
        spool: where the entry is.
        entry: in state ``ready`` or later.
        inline_size: bytes of files that may be in the message; the others go to the outbox.
            None: the setting MAX_INLINE_SIZE.

    Raises:
        OSError: a file cannot be read.
    """
    rest = settings.MAX_INLINE_SIZE if inline_size is None else inline_size

    def content(parts: Parts) -> tuple[str, bytes | None]:
        nonlocal rest
        path = entry.files.joinpath(*parts)
        # Not there: it was handed over by path before a crash, and is again.
        if path.exists() and path.stat().st_size <= rest:
            data = path.read_bytes()
            rest -= len(data)
            return _whole(entry, "/".join(parts)), data
        return text_of(spool.hand_over(entry, parts)), None

    requests: list[Any] = []
    for item in entry.data["items"]:
        metadata = ebook = None
        if item.get("metadata"):
            name, data = content(tuple(item["metadata"]))
            text = None if data is None else data.decode("utf-8-sig")
            metadata = MetadataFile(name, text, EPublication(**item["parsed"]))
        if item["ebook"]:
            ebook = EbookFile(*content(tuple(item["ebook"])))
        requests.append(DataPair(metadata, ebook) if metadata and ebook else metadata or ebook)
    errors, told = texts(entry, relative=False)
    return ImportRequest(entry.data["username"], requests, told, errors)


def texts(entry: SpoolEntry, *, relative: bool) -> tuple[str, str]:
    """Error log and import log."""
    prefix = "" if relative else _whole(entry, "")

    errors, told = ("\n".join(entry.data[key]) for key in ("errors", "told"))
    return unmark(errors, prefix), unmark(told, prefix)


def _whole(entry: SpoolEntry, path: str) -> str:
    return text_of("/".join([entry.data["home"].rstrip("/"), *entry.data["below"], path]))
