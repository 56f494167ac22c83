"""From a home without a lock file to an ``ImportRequest``.

The steps are ``collect`` (take the files out of the home), ``decide`` (pair, parse, say what is
wrong) and ``give_home_back`` (logs, kept files, lock file); each may be begun again after a crash.
``build`` makes the message. See ``spool`` for what holds them together.
"""

import logging
import os
import re
from typing import Any

from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.decoders import MetaParsingException, parse_meta
from edeposit.amqp.ftp.pairing import Item, Parts, pair
from edeposit.amqp.ftp.passwd_reader import read_user_config
from edeposit.amqp.ftp.spool import COLLECTING, READY, RETURNED, Spool, SpoolEntry
from edeposit.amqp.ftp.structures import DataPair, EbookFile, ImportRequest, MetadataFile

logger = logging.getLogger(__name__)

# Paths stand between NULs in stored texts: users see them relative to the home, receivers whole.
_PATH = re.compile("\0([^\0]*)\0")


def process_import_request(
    username: str,
    path: str,
    timestamp: str | int | float,
    logger_handler: logging.Logger | None = None,
) -> ImportRequest:
    """Import a directory of a user at once; the files are gone when this returns.

    The daemon does not use it: there the files stay in the spool until the broker has the message.

    Args:
        username: whose.
        path: the home, or a directory below it.
        timestamp: epoch seconds of the event.
        logger_handler: is told what happens; default: the module's own logger.

    Raises:
        FTPError: the spool cannot be used.
        OSError: the directory is not there, or not in DATA_PATH.
    """
    log = logger_handler or logger
    home = homes.home_of(username)
    inner = os.path.relpath(path, home)
    below = () if inner == "." else tuple(inner.split("/"))
    spool = Spool()
    entry = spool.begin(username, home, below, str(timestamp))
    advance(entry)
    request = build(spool, entry)
    entry.delete()
    log.info("import of %s: %d items", username, len(request.requests))
    return request


def advance(entry: SpoolEntry) -> None:
    """Bring an import to where only sending is left.

    Raises:
        OSError: the home or the spool cannot be used; to be tried again later.
    """
    if entry.state == COLLECTING:
        problems = collect(entry)
        decide(entry, problems)
    if entry.state == READY:
        give_home_back(entry)


# --- collect --------------------------------------------------------------------------------


def collect(entry: SpoolEntry) -> list[str]:
    """Rename the files out of the home into the entry.

    Returns:
        What could not be taken, and why.

    Raises:
        OSError: the home cannot be used.
    """
    if not os.path.lexists(entry.data["home"]):
        return []  # removed meanwhile; what was taken before is imported
    with homes.opened(entry.data["home"], *entry.data["below"]) as root:
        count = sum(1 for _ in zip(homes.walk(root), range(settings.MAX_IMPORT_FILES + 1),
                                   strict=False))  # fmt: skip
        if count > settings.MAX_IMPORT_FILES:
            return [f"There are more than {settings.MAX_IMPORT_FILES} files, nothing is imported:"
                    " take some away and delete the lock file again."]  # fmt: skip
        problems = []
        for directory, found in homes.walk(root):
            problem = found.problem or _take(directory, found.parts, entry)
            if problem:
                problems.append(f"Can't import {_mark(found.parts)}: {problem}")
        return problems


def _take(directory: int, parts: Parts, entry: SpoolEntry) -> str:
    """Take one file; returns why not, or an empty text."""
    target = entry.files.joinpath(*parts[:-1])
    target.mkdir(0o700, parents=True, exist_ok=True)
    with homes.opened_directory(target) as spooled:
        name = parts[-1]
        try:
            os.rename(name, name, src_dir_fd=directory, dst_dir_fd=spooled)
        except FileNotFoundError:
            return ""  # deleted meanwhile, by its owner
        # Only here, where its owner cannot swap it any more, is it sure what it is.
        problem = homes.problem_of(spooled, name)
        if problem:
            homes.give_back(spooled, name, directory)
        return problem


# --- decide ---------------------------------------------------------------------------------


def decide(entry: SpoolEntry, problems: list[str]) -> None:
    """Pair and parse what was taken, and put the decision on disk."""
    own_flags = _own_flags(entry.data["username"])

    def wanted(flag: str) -> bool:
        return settings.conf_merger(own_flags, flag)

    with homes.opened_directory(entry.files) as root:
        files = [found.parts for _, found in homes.walk(root)]
    pairs = pair(files, wanted)
    errors = list(problems)
    kept: list[Parts] = []
    for group in pairs.ambiguous:
        paths = "".join(f"\n\t{_mark(parts)}" for parts in group)
        errors.append(f"Too many files with same name:{paths}\n\n---\n")
        kept += group
    imported = []
    told = []
    for item in pairs.items:
        ready = _decide_item(entry, item, errors, kept, leave_bad=wanted("LEAVE_BAD_FILES"))
        if ready is not None:
            imported.append(ready)
            told.append(_tell(ready))
    entry.save(
        state=READY,
        items=imported,
        kept=kept,
        errors=errors,
        told=told,
        has_import_log=wanted("CREATE_IMPORT_LOG"),
    )


def _own_flags(username: str) -> dict[str, bool]:
    try:
        return read_user_config(username)
    except (KeyError, AssertionError):
        return {}


def _decide_item(
    entry: SpoolEntry, item: Item, errors: list[str], kept: list[Parts], *, leave_bad: bool
) -> dict[str, Any] | None:
    """What becomes of one item: the form in which it is stored, None if nothing is imported."""
    if item.metadata is None:
        return {"ebook": item.ebook}
    keep = leave_bad
    try:
        parsed = parse_meta(_text(item.metadata[-1]), _read_metadata(entry, item.metadata))
        return {"metadata": item.metadata, "ebook": item.ebook, "parsed": parsed._asdict()}
    except OSError as error:
        errors.append(f"Can't read MetadataFile '{_mark(item.metadata)}':\n\t{error.strerror}\n")
        keep = True
    except MetaParsingException as error:
        errors.append(f"Can't parse {_mark(item.metadata)}: {_text(str(error))}")
    if item.ebook is not None and settings.HOLD_BAD_PAIRS:
        kept += [item.metadata, item.ebook]
        return None
    if keep:
        kept.append(item.metadata)
    return {"ebook": item.ebook} if item.ebook is not None else None


def _read_metadata(entry: SpoolEntry, parts: Parts) -> bytes:
    limit = settings.MAX_METADATA_SIZE
    with open(entry.files.joinpath(*parts), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise MetaParsingException(f"it is larger than {limit} bytes")
    return data


def _tell(item: dict[str, Any]) -> str:
    lines = []
    if item.get("metadata"):
        lines.append(f"Metadata file '{_mark(item['metadata'])}' successfully imported.")
    if item["ebook"]:
        lines.append(f"Ebook file '{_mark(item['ebook'])}' successfully imported.")
    if len(lines) == 2:
        lines = ["Metadata and data files paired to epub. import request:",
                 *(f"\t{line}" for line in lines)]  # fmt: skip
    return "\n".join(lines)


# --- give the home back -----------------------------------------------------------------------


def give_home_back(entry: SpoolEntry) -> None:
    """Put kept files, logs and the lock file into the home; take empty directories away.

    Raises:
        OSError: the home cannot be used.
    """
    try:
        with homes.opened(entry.data["home"], *entry.data["below"]) as root:
            for parts in map(tuple, entry.data["kept"]):
                _return_file(entry, parts, root)
            homes.remove_empty_directories(root)
            _write_logs(entry, root)
            # The lock comes last: after a crash before it the home counts as unlocked, and is
            # looked at again; the other way round, a lock deleted meanwhile would be put back.
            entry.save(synced=False, state=RETURNED)
            homes.write_lock(root)
    except FileNotFoundError:
        logger.warning("home %s is gone, its import goes on", entry.data["home"])
        entry.save(synced=False, state=RETURNED)


def _return_file(entry: SpoolEntry, parts: Parts, root: int) -> None:
    source = entry.files.joinpath(*parts)
    if not source.exists():  # returned before the crash
        return
    try:
        target = homes.make_directories(root, parts[:-1])
    except OSError:  # a file is where its directory was
        target = os.dup(root)
    try:
        with homes.opened_directory(source.parent) as spooled:
            homes.give_back(spooled, parts[-1], target)
    finally:
        os.close(target)


def _write_logs(entry: SpoolEntry, root: int) -> None:
    errors, told = _texts(entry, relative=True)
    if errors:
        homes.write_file(root, settings.USER_ERROR_LOG, errors + "\n")
    elif homes.exists(root, settings.USER_ERROR_LOG):
        os.unlink(settings.USER_ERROR_LOG, dir_fd=root)
    if not entry.data["has_import_log"] or not (errors or told):
        return
    if errors:
        text = (
            "Status: Error\n\nError: Import only partially successful.\n"
            f"See '{settings.USER_ERROR_LOG}' for details.\n\n--- Errors ---\n{errors}\n\n"
            f"--- Successfully imported files ---\n{told}\n"
        )
    else:
        text = f"Status: Ok\n\n--- Sucess ---\n{told}\n"
    homes.write_file(root, settings.USER_IMPORT_LOG, text)


# --- the message ------------------------------------------------------------------------------


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
        return _text(spool.hand_over(entry, parts)), None

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
    errors, told = _texts(entry, relative=False)
    return ImportRequest(entry.data["username"], requests, told, errors)


def _texts(entry: SpoolEntry, *, relative: bool) -> tuple[str, str]:
    """Error log and import log."""
    prefix = "" if relative else _whole(entry, "")

    def whole(text: str) -> str:
        return _PATH.sub(lambda match: prefix + match[1], text)

    return whole("\n".join(entry.data["errors"])), whole("\n".join(entry.data["told"]))


def _whole(entry: SpoolEntry, path: str) -> str:
    return _text("/".join([entry.data["home"].rstrip("/"), *entry.data["below"], path]))


def _mark(parts: Parts | list[str]) -> str:
    # A line break in a name must not forge a line of a log.
    printable = "".join(char if char.isprintable() else "\ufffd" for char in _text("/".join(parts)))
    return f"\0{printable}\0"


def _text(name: str) -> str:
    """A name as JSON can hold it: bytes that are no UTF-8 become U+FFFD, NULs go."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.replace("\0", "")
