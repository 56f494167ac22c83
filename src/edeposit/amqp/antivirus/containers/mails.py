"""Mails and their attachments."""

import email
import email.policy
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk

# The parser keeps a mail in memory several times over.
_MAX_SIZE = 4 * 1024**2


def look(file: IO[bytes], walk: "Walk") -> None:
    """Look at a mail's parts."""
    if file.seek(0, 2) > _MAX_SIZE:
        walk.add("too-much", "the mail is too large to look at its attachments")
        return
    file.seek(0)
    message = email.message_from_binary_file(file, policy=email.policy.compat32)
    for part in message.walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            walk.count(len(content))
            walk.enter(str(part.get_filename() or part.get_content_type()), [content])
