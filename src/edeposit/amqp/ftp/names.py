"""Names of files as texts: for people, and for messages.

A name on disk is bytes. Inside this package it is a ``str`` as ``os.fsdecode`` gives it, from which
the bytes can be had back. Only here does it become a text without surrogates:

* ``shown`` is for people: what cannot be printed becomes U+FFFD.
* ``on_wire`` is for messages: reversible, see there.

A text that is stored with an import marks the paths in it (``mark``), because users see them
relative to their home and receivers see them whole (``unmark``).
"""

import os
import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

_MARKED = re.compile("\0([^\0]*)\0")
_SURROGATE = re.compile("[\ud800-\udfff]")


def shown(text: str) -> str:
    """A text without surrogates and control characters: it cannot forge a line of a log."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def clean(text: str) -> str:
    """A text that every encoding and JSON can hold: surrogates become U+FFFD, NULs are removed."""
    return _SURROGATE.sub("\ufffd", text).replace("\0", "")


def on_wire(path: str) -> str:
    """A path as a message holds it.

    A component that is UTF-8 is written as it is. In any other one each byte that is not UTF-8, and
    each ``%``, is written as ``%XX``, and the component gets a leading dot; files whose own names
    begin with a dot are never imported, so both kinds cannot be confused.
    """
    return "/".join(map(_component_on_wire, path.split("/")))


def _component_on_wire(name: str) -> str:
    if not _SURROGATE.search(name):
        return name
    escaped = name.replace("%", "%25")
    return "." + _SURROGATE.sub(lambda match: f"%{ord(match[0]) & 0xFF:02X}", escaped)


def from_wire(path: str) -> bytes:
    """The name that the user gave, from the path in a message: the reverse of ``on_wire``."""
    return b"/".join(
        unquote_to_bytes(name[1:]) if name.startswith(".") and "%" in name else os.fsencode(name)
        for name in path.split("/")
    )


def mark(parts: Sequence[str]) -> str:
    """A path for a stored text."""
    return f"\0{shown('/'.join(parts))}\0"


def unmark(text: str, prefix: str) -> str:
    """Put a prefix before all marked paths of a text."""
    return _MARKED.sub(lambda match: prefix + match[1], text)


def cut(text: str, limit: int) -> str:
    """A text of at most about ``limit`` characters; what is cut is counted."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} [... {len(text) - limit} more characters]"


def joined(texts: Iterable[str], limit: int) -> str:
    """Texts, a line each, up to about ``limit`` characters; what is left out is counted."""
    lines: list[str] = []
    left_out = 0
    for text in texts:
        limit -= len(text) + 1
        if limit >= 0 and not left_out:
            lines.append(text)
        else:
            left_out += 1
    if left_out:
        lines.append(f"[... {left_out} more]")
    return "\n".join(lines)
