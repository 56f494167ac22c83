"""From the bytes of a metadata file to its text."""

import codecs
import re

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"^\s*<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
_ALLOWED = re.compile(r"(iso8859|cp125|cp85)[0-9-]{1,3}|koi8-[rut]|mac-?latin2|utf-(8|16(-[lb]e)?)")


def as_text(suffix: str, data: bytes) -> str:
    """Decode a file.

    By its byte order mark; else as UTF-8, which nothing else is by accident; else by an XML
    declaration; else, if it is CSV, as windows-1250, which Excel writes.

    Args:
        suffix: of its name, in lower case: ``csv``, ``xml``...
        data: the bytes.

    Raises:
        MetaParsingException: it is in none of these.
    """
    for charset in _candidates(suffix, data):
        try:
            return data.decode(charset).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            problem = error
    raise MetaParsingException(f"It is not UTF-8: {problem.reason} at byte {problem.start}")


def _candidates(suffix: str, data: bytes) -> list[str]:
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return [charset]
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return ["utf-16-le"]
    if data[:1] == b"\0" and data[1:2] != b"\0":
        return ["utf-16-be"]
    charsets = ["utf-8"]
    declared = _DECLARED.match(data) if suffix == "xml" else None
    if declared:
        try:
            name = codecs.lookup(declared[1].decode("ascii")).name
        except LookupError as error:
            raise MetaParsingException(
                f"Can't parse your XML data: unknown encoding '{declared[1].decode('ascii')}'"
            ) from error
        if _ALLOWED.fullmatch(name):
            charsets.append(name)
    elif suffix == "csv":
        charsets.append("windows-1250")
    return charsets
