"""Names of files as texts.

In stored texts a path stands between NULs: users see it relative to the home, receivers whole.
"""

import re
from collections.abc import Sequence

_PATH = re.compile("\0([^\0]*)\0")


def mark(parts: Sequence[str]) -> str:
    # A line break in a name must not forge a line of a log.
    printable = "".join(
        char if char.isprintable() else "\ufffd" for char in text_of("/".join(parts))
    )
    return f"\0{printable}\0"


def text_of(name: str) -> str:
    """A name as JSON can hold it: bytes that are no UTF-8 become U+FFFD, NULs go."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.replace("\0", "")


def unmark(text: str, prefix: str) -> str:
    """Put a prefix before all marked paths of a text."""
    return _PATH.sub(lambda match: prefix + match[1], text)
