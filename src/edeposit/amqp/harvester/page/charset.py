"""From the bytes of a page to its characters, whatever the page says about itself.

Nothing here raises for odd bytes: a page with a wrong or missing charset is still a page. The order
is that of browsers: byte order mark, HTTP header, the page's own words, then a guess. A declared
charset that cannot be true is not believed: most of the page's non-ASCII bytes do not fit it, or a
server's default contradicts a page that says it is UTF-8, and is.
"""

import codecs
import logging
import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

logger = logging.getLogger(__name__)

# The last resort for what no detector recognizes: Central European pages of the old days.
FALLBACK = "windows-1250"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Browsers look at the first kilobyte; old pages hide the meta behind comments.
_HEAD = 4096
_DECLARED = re.compile(
    rb"""<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]+)|<meta[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]+)""",
    re.IGNORECASE,
)
# A detector's time grows with the input; the beginning of the text parts tells as much.
_SAMPLE, _AROUND = 16_384, 24
# A page that declares one of these means the Windows charset of its script, which has letters and
# quotation marks where ISO 8859 has control characters (C1). For Latin-1 that is a standard:
# https://encoding.spec.whatwg.org/#names-and-labels
_WINDOWS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-2": "cp1250",
    "iso8859-3": "cp1254",
    "iso8859-4": "cp1257",
    "iso8859-5": "cp1251",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-9": "cp1254",
    "iso8859-10": "cp1257",
    "iso8859-13": "cp1257",
    "iso8859-14": "cp1252",
    "iso8859-15": "cp1252",
    "iso8859-16": "cp1250",
}
_ALWAYS_WINDOWS = ("ascii", "iso8859-1")
_C1 = re.compile("[\x80-\x9f]")
_C1_BYTES = re.compile(rb"[\x80-\x9f]")

_OTHER_SCRIPTS = (
    "cp1251",
    "cp1253",
    "cp1255",
    "cp1256",
    "cp1258",
    "iso8859_5",
    "iso8859_6",
    "iso8859_7",
    "iso8859_8",
    "iso8859_11",
)


def decode(content: bytes, charset: str | None = None) -> str:
    """Decodes a page.

    Args:
        content: as it came.
        charset: of the HTTP header, if there was one; unknown names count as none.
    """
    for bom, name in _BOMS:
        if content.startswith(bom):
            return content[len(bom) :].decode(name, "replace").lstrip("\ufeff")
    if name := _sixteen_bits(content):
        return content.decode(name, "replace")
    names = list(_declared(content, charset))
    if "utf-8" in names[1:]:
        names.insert(0, "utf-8")
    for name in names:
        text = _decoded(content, name)
        wrong = text.count("\ufffd")
        if not wrong:
            return text
        # One broken byte is an accident; more broken than right ones is a wrong charset. A byte
        # that a charset of single bytes does not have is never right.
        foreign = len(text) - len(text.encode("ascii", "ignore"))
        if wrong <= foreign - wrong and not _has_gaps(name):
            return text
        logger.debug("The page is not in the declared charset %s.", name)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode(_guess(content), "replace")


def _sixteen_bits(content: bytes) -> str:
    """UTF-16 that says nothing of itself: every other byte of Latin text is zero."""
    head = content[:1024]
    for name, zeros, others in (
        ("utf-16-le", head[1::2], head[::2]),
        ("utf-16-be", head[::2], head[1::2]),
    ):
        if zeros and zeros.count(0) > len(zeros) // 2 and others.count(0) <= len(others) // 50:
            return name
    return ""


def _declared(content: bytes, charset: str | None) -> Iterator[str]:
    names = [charset] if charset else []
    if found := _DECLARED.search(content, 0, _HEAD):
        names.append((found[1] or found[2]).decode("ascii"))
    for name in names:
        try:
            known = codecs.lookup(name.strip(" \"'"))
        except (LookupError, ValueError):
            logger.debug("Unknown charset %.40r.", name)
            continue
        # rot13, zlib and the like are codecs, too, but no charsets; a page that says in ASCII that
        # it is UTF-16 is not.
        if known._is_text_encoding and not known.name.startswith(("utf-16", "utf-32", "idna")):
            yield known.name


def _decoded(content: bytes, name: str) -> str:
    windows = _WINDOWS.get(name)
    if windows is None:
        return content.decode(name, "replace")
    used = {byte.decode(windows, "replace") for byte in set(_C1_BYTES.findall(content))}
    if name in _ALWAYS_WINDOWS or any(character.isalpha() for character in used):
        return content.decode(windows, "replace")
    # Only punctuation was taken from Windows: the letters are those that were declared.
    text = content.decode(name, "replace")
    return _C1.sub(lambda found: found[0].encode("latin-1").decode(windows, "replace"), text)


def _has_gaps(name: str) -> bool:
    return name in _WINDOWS or name.startswith("cp125")


def _guess(content: bytes) -> str:
    sample = bytearray()
    for found in re.finditer(rb"[\x80-\xff]+", content):
        # Only the neighbourhood of non-ASCII bytes says something; a minified page is one line.
        sample += content[max(0, found.start() - _AROUND) : found.end() + _AROUND] + b"\n"
        if len(sample) >= _SAMPLE:
            break
    best = from_bytes(bytes(sample[: 2 * _SAMPLE])).best()
    guess = best.encoding if best is not None else FALLBACK
    if not guess.startswith(("cp125", "iso8859")) or guess in _OTHER_SCRIPTS:
        return guess
    # The detector cannot tell the two charsets of Czech apart: they differ in š, ť and ž only,
    # which stand where the other one has no letters of Czech.
    if any(0x80 <= byte <= 0x9F for byte in sample):
        return guess if guess.startswith("cp125") else FALLBACK
    return "iso8859_2" if any(byte in b"\xb9\xbb\xbe" for byte in sample) else guess
