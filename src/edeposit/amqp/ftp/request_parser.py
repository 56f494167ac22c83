"""From a home without a lock file to an ``ImportRequest``, in steps that survive a crash.

``collecting`` takes the files out of the home, ``deciding`` pairs and parses them, ``returning``
gives the home its logs, kept files and lock file back; ``message`` makes what is sent. Each step
may be begun again after a crash; see ``spool`` for what holds them together.
"""

import logging
import os

from edeposit.amqp.ftp import homes
from edeposit.amqp.ftp.collecting import collect
from edeposit.amqp.ftp.deciding import decide
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.returning import finish, give_home_back
from edeposit.amqp.ftp.spool import COLLECTING, READY, Spool, SpoolEntry
from edeposit.amqp.ftp.structures import ImportRequest

__all__ = ["advance", "build", "process_import_request"]

logger = logging.getLogger(__name__)


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
    elif not entry.is_returned:
        finish(entry)
