"""Options of ``ebook-convert``: which it has for two formats, and which a request may name.

What must stay true: nothing of a request reaches the command line but the value of an option that
is allowed, in one argument with it.
"""

import codecs
import functools
import json
import logging
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from edeposit.amqp.calibre import sandbox, settings, workdir
from edeposit.amqp.calibre.exceptions import ConverterUnavailableError

logger = logging.getLogger(__name__)

_OPTION = re.compile(r"^ +(?:-\w(?: \w+|=\w+)?, )?--([a-z0-9][a-z0-9-]*)(=?)", re.MULTILINE)
_MAX_VALUE = 200
# Seconds; it takes a third of one.
_PATIENCE = 60


def arguments(
    source: str, target: str, charset: str = "", wanted: Mapping[str, Any] | None = None
) -> list[str]:
    """The options of one conversion.

    Args:
        source: format, as ``ebook-convert`` calls it.
        target: beside it.
        charset: of the input; empty: calibre finds it out.
        wanted: options that the request names, without dashes, with their values; True is for an
            option that takes none.

    Raises:
        ValueError: a charset or option that is unknown or not allowed, or a value that cannot be.
        ConverterUnavailableError: ``ebook-convert`` cannot be asked.
    """
    # Most requests name none: then only what the input's format takes matters.
    known = known_options(sandbox.converter(), source, target if wanted else "txt")
    result = []
    if "max-levels" in known:
        result += ["--max-levels", "0"]  # a link must not pull in other files
    if not sandbox.is_fenced() and "formatting-type" in known:
        result += ["--formatting-type", "plain"]  # nor an image in Markdown or Textile
    if charset:
        result.append(f"--input-encoding={_codec(charset)}")
    for name, value in (wanted or {}).items():
        if name not in settings.ALLOWED_OPTIONS:
            raise ValueError(f"The option {str(name)[:100]!r} is not allowed.")
        if name not in known:
            raise ValueError(f"There is no option {name!r} from {source} to {target}.")
        if name == "formatting-type" and not sandbox.is_fenced():
            raise ValueError("The option 'formatting-type' is not allowed without the sandbox.")
        if known[name]:
            result.append(f"--{name}={_text(name, value)}")
        elif value is True:
            result.append(f"--{name}")
        elif value is not False:
            raise ValueError(f"The option {name!r} takes no value but true or false.")
    return result


def parsed(text: Any) -> dict[str, Any]:
    """The options that a request names in a header: a table, or one as JSON.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The options are not JSON: {error}") from error
    if not isinstance(text, dict):
        raise ValueError("The options are not a table of names and values.")
    return text


@functools.cache
def known_options(converter: str, source: str, target: str) -> dict[str, bool]:
    """The options that ``ebook-convert`` has for two formats, and whether they take a value.

    Args:
        converter: its path; another one has other options.
        source: format of the input.
        target: of the output.

    Raises:
        ConverterUnavailableError: it cannot be asked.
    """
    with workdir.work_directory() as work:
        command = sandbox.command(
            work, [f"help-in.{source}", f"help-out.{target}", "--help"], limit_address_space=False
        )
        try:
            done = subprocess.run(
                command,
                cwd=work,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConverterUnavailableError(f"ebook-convert --help: {error}") from error
    text = done.stdout.decode("utf-8", "replace")
    found = {match[1]: bool(match[2]) for match in _OPTION.finditer(text)}
    if not found:
        logger.warning("%s names no options from %s to %s", converter, source, target)
    return found


def _codec(charset: Any) -> str:
    try:
        # Not every codec is one of text: hex, zlib.
        codec = codecs.lookup(charset)
        "".encode(charset)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"The charset {str(charset)[:100]!r} is not known.") from error
    return codec.name


def _text(name: str, value: Any) -> str:
    text = str(value)
    if isinstance(value, bool | dict | list) or value is None or len(text) > _MAX_VALUE:
        raise ValueError(f"The option {name!r} takes a short text or a number.")
    if not text.isprintable():
        raise ValueError(f"The value of the option {name!r} cannot be printed.")
    return text
