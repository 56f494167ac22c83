"""Lines of ProFTPD's extended log.

The set-up makes the server write ``%s, %f, %u, %m, %{%s}t`` (code, path, user, command, epoch
seconds); lines of the first generation lack the code. A name with a line break in it would let an
FTP user forge lines about others, so a line with a control character is refused.
"""

import os
import re

_CODE = re.compile(r"([1-5][0-9]{2}), ")


def parse_line(line: str | bytes) -> dict[str, str]:
    """Take a line of the extended log apart.

    Args:
        line: ``[code, ]path, user, command, epoch seconds``; the path may hold commas.

    Returns:
        ``timestamp``, ``command``, ``username``, ``path`` and, if the line has it, ``code``.

    Raises:
        ValueError: fields are missing, or there are control characters in it.
    """
    text = (os.fsdecode(line) if isinstance(line, bytes) else line).removesuffix("\n")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise ValueError("control characters in a line of the log")
    fields = text.rsplit(",", 3)
    if len(fields) < 4:
        raise ValueError("a line of the log has too few fields")
    path, username, command, timestamp = fields
    parsed = {
        "timestamp": timestamp.strip(),
        "command": command.strip(),
        "username": username.strip(),
        "path": path.strip(),
    }
    code = _CODE.match(path)
    if code:
        parsed |= {"code": code[1], "path": path[code.end() :].strip()}
    return parsed
