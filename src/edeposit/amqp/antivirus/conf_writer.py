"""Changes of single lines in a ``clamd.conf``, which keep everything else as it is."""

import re

_SIZE = re.compile(r"^(\d+)([kKmMgG]?)$")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
# Defaults of ClamAV 1.4, see clamd.conf(5).
_DEFAULT_SIZES = {
    "StreamMaxLength": 100 * 1024**2,
    "MaxFileSize": 100 * 1024**2,
    "MaxScanSize": 400 * 1024**2,
}


def add_or_update(data: str, item: str, value: str) -> str:
    """Set an option.

    The first active line of the option is replaced; else the first commented one is uncommented
    and replaced; else the option is appended. Doing it twice changes nothing more.

    Args:
        data: text of the file.
        item: name of the option.
        value: its value.

    Returns:
        The new text.
    """
    lines = data.splitlines()
    wanted = f"{item} {value}"
    for is_match in (_is_active, _is_commented):
        for number, line in enumerate(lines):
            if is_match(line, item):
                lines[number] = wanted
                return "\n".join(lines) + "\n"
    lines.append(wanted)
    return "\n".join(lines) + "\n"


def comment(data: str, what: str) -> str:
    """Comment out every line whose words are those of ``what``."""
    words = what.split()
    lines = [f"#{line}" if words and line.split() == words else line for line in data.splitlines()]
    return "\n".join(lines) + ("\n" if data.endswith("\n") else "")


def remove(data: str, item: str) -> str:
    """Drop every active line of an option."""
    lines = [line for line in data.splitlines() if not _is_active(line, item)]
    return "\n".join(lines) + "\n"


def value_of(data: str, item: str) -> str | None:
    """The value of an option's first active line; None if there is none."""
    for line in data.splitlines():
        if _is_active(line, item):
            return line.split(None, 1)[1].strip() if len(line.split()) > 1 else ""
    return None


def size_of(data: str, item: str) -> float:
    """A size option in bytes: of the text, else clamd's default; infinite if it is switched off."""
    match = _SIZE.match(value_of(data, item) or "")
    size = int(match[1]) * _UNITS[match[2].lower()] if match else _DEFAULT_SIZES[item]
    return size or float("inf")


def has_blind_spot(data: str) -> bool:
    """Would clamd call an archive clean although it has read only a part of a member?

    It cuts a member at MaxFileSize without a word; only MaxScanSize raises the alert (seen with
    ClamAV 1.4.6). So MaxFileSize must not be the smaller one.
    """
    return size_of(data, "MaxFileSize") < size_of(data, "MaxScanSize")


def _is_active(line: str, item: str) -> bool:
    words = line.split()
    return bool(words) and words[0] == item


def _is_commented(line: str, item: str) -> bool:
    text = line.strip()
    return text.startswith("#") and text.lstrip("#").split()[:1] == [item]
