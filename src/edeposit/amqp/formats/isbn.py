"""The product's only reader of ISBNs (ISO 2108); python-stdnum checks the digits.

``read`` takes a text that is one ISBN and nothing else: a form field, a request, a file name.
``find_all`` and ``candidates`` look for ISBNs inside a longer text: a web page; ``split`` takes one
from the beginning of a longer text: a field of a catalogue record.
All return an ISBN as it is printed, with plain hyphens between its parts; ``canonical`` makes
different spellings of one ISBN equal. Every function takes time linear in the length of the text.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from stdnum import exceptions, isbn

_LONG, _SHORT = 13, 10
_LONG_PREFIXES = ("978", "979")
_ISMN = "9790"  # printed music (ISO 10957) shares the prefix 979
_SHORT_PARTS = 4  # an ISBN-10 is always printed in four parts, an ISBN-13 in five
_MOST_PARTS = 6  # one more than any ISBN has: misprints
_SHOWN = 60  # characters of a wrong text in an error message

# Dashes become hyphens. Marks without a width, such as the soft hyphen, are removed: texts copied
# from a PDF or a web page contain them.
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_PLAIN = str.maketrans(dict.fromkeys(_DASHES, "-") | dict.fromkeys(_INVISIBLE))

_LABEL = re.compile(r"(?<![^\W\d_])(?:[ep]-?)?ISBN(?:[\s-]?\(?1[03]\)?(?![0-9]))?[\s:.]*", re.I)
_PART = re.compile(r"[0-9]+(?:[Xx](?![^\W_]))?|(?<=[-\s])[Xx](?![^\W_])")
_SPACED = re.compile(r"[\s-]{1,3}")


class _Part(NamedTuple):
    """Digits without a separator between them, and how they are joined to the part before."""

    text: str
    joint: str  # "-", " " (blanks, or a dash with blanks), or "|" for anything else
    end: int  # position in the text


def read(text: Any) -> str:
    """The ISBN that the text consists of, such as ``80-251-0225-4``.

    Any dash or blank may separate the digits, and the word ISBN, ISBN-10 or ISBN-13 may stand in
    front.

    Raises:
        ValueError: the text is not one valid ISBN; the message says why.
    """
    if not isinstance(text, str):
        raise ValueError(f"An ISBN must be a text, not {type(text).__name__}.")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    plain = text.translate(_PLAIN).strip()
    label = _LABEL.match(plain)
    number = plain[label.end() :] if label else plain
    if not number:
        raise ValueError("The ISBN is missing.")
    other = re.search(r"[^0-9Xx\s-]", number)
    if other:
        raise ValueError(f"'{shown}' contains more than an ISBN: {number[other.start() :][:20]!r}.")
    if reason := _fault(re.sub(r"[\s-]+", "", number).upper()):
        raise ValueError(f"'{shown}' is not an ISBN: {reason}.")
    return re.sub(r"[\s-]+", "-", number).strip("-").upper()


def is_valid(text: Any) -> bool:
    """Whether the text consists of one valid ISBN; see ``read``."""
    try:
        read(text)
    except ValueError:
        return False
    return True


def canonical(text: Any) -> str:
    """The ISBN-13, digits only, of a text that ``read`` accepts.

    Raises:
        ValueError: the text is not one valid ISBN; the message says why.
    """
    return str(isbn.to_isbn13(read(text).replace("-", "")))


def find_all(text: str) -> list[str]:
    """All valid ISBNs inside a text, in order, each once.

    An ISBN-10 and the ISBN-13 of the same book are two ISBNs.
    """
    found: dict[str, str] = {}
    for number in candidates(text):
        digits = number.replace("-", "")
        if not _fault(digits):
            found.setdefault(digits, number)
    return list(found.values())


def candidates(text: str) -> Iterator[str]:
    """What looks like an ISBN inside a text, in order, whether its check digit is right or wrong.

    A publisher may have printed a wrong check digit. An ISMN (979-0) is not one.
    """
    parts = _parts(_LABEL.sub("|", text.translate(_PLAIN)))
    start = 0
    while start < len(parts):
        window = _window(parts, start, _LONG) or _window(parts, start, _SHORT)
        if number := _number(window):
            yield number
        start += len(window) or 1


def split(text: str) -> tuple[str, str]:
    """The ISBN that a text begins with, and the rest: ``80-251-0225-4`` and ``(brož.)``.

    The word ISBN before it belongs to neither. The check digit may be wrong. If the text does not
    begin with an ISBN, the first is empty.
    """
    plain = text.translate(_PLAIN).strip()
    label = _LABEL.match(plain)
    rest = plain[label.end() :] if label else plain
    parts = _parts(rest) if rest[:1].isdigit() else []
    window = parts and (_window(parts, 0, _LONG) or _window(parts, 0, _SHORT))
    if number := _number(window):
        rest = rest[window[-1].end :]
    return number, rest.strip()


def _number(window: list[_Part]) -> str:
    """The parts joined; empty if they are none, or an ISMN."""
    number = "-".join(part.text for part in window).upper()
    return "" if number.replace("-", "").startswith(_ISMN) else number


def _parts(text: str) -> list[_Part]:
    parts: list[_Part] = []
    end = 0
    for match in _PART.finditer(text):
        between = text[end : match.start()]
        joint = between if between == "-" else " " if _SPACED.fullmatch(between) else "|"
        end = match.end()
        parts.append(_Part(match[0], joint if parts else "|", end))
    return parts


def _window(parts: list[_Part], start: int, length: int) -> list[_Part]:
    """The parts from this one on, if they look like an ISBN of this length; else none."""
    first = parts[start]
    if length == _LONG and not first.text.startswith(_LONG_PREFIXES):
        return []
    if first.joint == "-" and len(first.text) != _LONG:  # a piece of a longer number
        return []
    window: list[_Part] = []
    missing = length
    for part in parts[start : start + _MOST_PARTS]:
        if missing <= 0 or (window and part.joint == "|"):
            break
        window.append(part)
        missing -= len(part.text)
    if missing:
        return []
    digits = "".join(part.text for part in window).upper()
    if not digits[:-1].isdigit():
        return []
    valid = not _fault(digits)
    end = start + len(window)
    if first.joint == "-" or (end < len(parts) and parts[end].joint == "-"):
        # A piece of a longer number, unless it is 13 digits without a hyphen.
        return window if valid and length == _LONG and len(window) == 1 else []
    joints = {part.joint for part in window[1:]}
    if " " not in joints:
        return window
    # Numbers that have nothing to do with each other may be divided by blanks, too.
    if length == _SHORT:
        printed = len(window) == _SHORT_PARTS and len(window[-1].text) == 1
        return window if valid and printed else []
    return window if valid or len(joints) == 1 else []


def _fault(digits: str) -> str:
    """Why the digits are not an ISBN; empty if they are one."""
    if digits.startswith(_ISMN) and len(digits) == _LONG:
        return "979-0 begins an ISMN, the number of printed music"
    if len(digits) not in (_SHORT, _LONG):
        return f"it has {len(digits)} digits, an ISBN has {_SHORT} or {_LONG}"
    if len(digits) == _LONG and not digits.startswith(_LONG_PREFIXES):
        return f"an ISBN of {_LONG} digits begins with 978 or 979"
    try:
        isbn.validate(digits)
    except exceptions.InvalidFormat:
        return "an X may only be the last of ten digits"
    except exceptions.InvalidChecksum:
        return "its check digit is wrong"
    return ""
