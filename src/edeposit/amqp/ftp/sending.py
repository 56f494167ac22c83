"""Sends an import, in a form that the broker accepts."""

import logging
from collections.abc import Callable

from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.structures import ImportRequest

logger = logging.getLogger(__name__)

Send = Callable[[ImportRequest, str], None]


def send_entry(spool: Spool, entry: SpoolEntry, send: Send) -> bool:
    """Send an import; files that make the message too large for the broker go by path.

    Returns:
        False if the broker does not take it in any form; it stays in the spool.

    Raises:
        ClosedError: the daemon ends.
    """
    inline = settings.MAX_INLINE_SIZE
    while True:
        try:
            request = build(spool, entry, inline)
        except (OSError, FTPError) as error:
            logger.error("import %s cannot be read, it stays in the spool: %s", entry.uuid, error)
            return False
        try:
            send(request, entry.uuid)
            return True
        except MessageTooLargeError as error:
            if not inline:
                logger.error("import %s stays in the spool: %s", entry.uuid, error)
                return False
            # In JSON a file is a third larger, and there is text beside it.
            inline = min(inline // 2, error.limit // 2)
            inline = inline if inline > 1024 else 0
