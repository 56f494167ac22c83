"""Export of a book to the librarians' web form.

All 29 fields of the form are sent, always. What is missing or wrong is found before anything is
sent, and reported completely. The caller's structure is not changed. The form is sent once: only a
page that confirms it is a success, and if nobody can know the outcome, the error says so.
"""

import logging
import re
from typing import Any

import httpx2

from edeposit.amqp.aleph import http, isbn, settings
from edeposit.amqp.aleph.datastructures import EPublication
from edeposit.amqp.aleph.exceptions import (
    AlephUnavailableException,
    ExportException,
    ExportOutcomeUnknownException,
    ExportRejectedException,
    InvalidExportDataException,
    InvalidISBNException,
    without_credentials,
)
from edeposit.amqp.formats.isbn import read as read_isbn
from edeposit.amqp.serializers import iiOfAny

logger = logging.getLogger(__name__)

ANNOTATION_PREFIX = "Nakladatelská anotace: "
ANNOTATION_LIMIT = 500  # characters, without the prefix

_SPECIAL = "/:,- "
_BOOK = ("-----nam-a22------a-4500", "BK")
_ELECTRONIC = "elektronický zdroj"
# Leader, format, base, general material designation, hidden processor; by binding.
_MEDIA = {
    "mapa": ("-----nem-a22------a-4500", "MP", "30", "kartografický dokument", "ow"),
    "CD-ROM": (*_BOOK, "30", _ELECTRONIC, "ow"),
    "DVD": (*_BOOK, "30", _ELECTRONIC, "ow"),
    "online": (*_BOOK, "49", _ELECTRONIC, "ox"),
}
_MEDIA_KEYS = ("P0100LDR__", "P0200FMT__", "P0300BAS__a", "P07022001_b", "P1501IST1_a")

# Required form fields and the text of the error if they are blank, in the order of the checks.
_REQUIRED = (
    ("P07012001_a", "Nazev is required!"),
    ("P0901210__a", "Místo vydání is required!"),
    ("P0903210__d", "Datum vydání is required!"),
    ("P0801205__a", "Pořadí vydání is required!"),
    ("P1501IST1_a", "Zpracovatel is required! (H)"),
    ("P1502IST1_b", "Zpracovatel is required! (V)"),
    ("P0502010__b", "Vazba/forma is required!"),
)


class PostData:
    """A book as the form's fields.

    Args:
        epub: an ``EPublication``; None counts as blank.
    """

    def __init__(self, epub: Any) -> None:
        self._epub = epub
        self._problems: list[str] = []

    def get_POST_data(self) -> dict[str, str]:
        """The 29 fields, validated.

        Raises:
            InvalidISBNException: wrong checksum of the ISBN or of the series' ISBN.
            InvalidExportDataException: all other problems, each on a line.
        """
        self._problems = []
        authors = self._authors()
        fields = self._fields(authors)
        self._validate(fields)
        if self._problems:
            raise InvalidExportDataException(self._problems)
        return fields

    def _fields(self, authors: list[str]) -> dict[str, str]:
        epub = self._epub
        binding = _text(epub.vazba)
        fields = {"sid": settings.EDEPOSIT_EXPORT_SIGNATURE}
        fields.update(zip(_MEDIA_KEYS, _MEDIA.get(binding, _MEDIA["online"]), strict=True))
        main_isbn = _isbn(_first(epub.ISBN, "ISBN"))
        series = _isbn(_first(epub.ISBNSouboruPublikaci, "ISBNSouboruPublikaci"))
        annotation = _text(epub.anotace)
        fields.update(
            {
                "P0501010__a": main_isbn,
                "P1601ISB__a": main_isbn,
                "P0502010__b": binding,
                "P0503010__x": _text(epub.format),
                "P0504010__d": _text(epub.cena),
                "P0601010__a": series,
                "P0602010__b": f"soubor : {series}" if series else "",
                "P07012001_a": _text(epub.nazev),
                "P07032001_e": _text(epub.podnazev),
                "P07042001_h": _text(epub.castDil),
                "P07052001_i": _text(epub.nazevCasti),
                "P0801205__a": _text(epub.poradiVydani),
                "P0901210__a": _text(epub.mistoVydani),
                "P0902210__c": _text(epub.nakladatelVydavatel),
                "P0903210__d": _text(epub.datumVydani),
                "P1001330__a": ANNOTATION_PREFIX + annotation if annotation else "",
                "P110185640u": _first(epub.url, "url", strip=False),
                "P1301ZAK__b": authors[0] if authors else "",
                "P1302ZAK__c": authors[1] if len(authors) > 1 else "",
                "P1303ZAK__c": ", ".join(authors[2:]),
                "P1401PJM__a": "",
                "P1502IST1_b": _text(epub.zpracovatelZaznamu),
                "P1801URL__u": _first(epub.internal_url, "internal_url", strip=False),
            }
        )
        return fields

    def _authors(self) -> list[str]:
        authors = []
        for author in _list(self._epub.autori):
            if hasattr(author, "firstName") and hasattr(author, "lastName"):
                author = f"{_text(author.firstName)} {_text(author.lastName)}"
            if not isinstance(author, str):
                kind = type(author)
                self._problems.append(f"Bad type of author ({kind}) (str is required).")
            elif _text(author):
                authors.append(_text(author))
        return authors

    def _validate(self, fields: dict[str, str]) -> None:
        main, series = fields["P0501010__a"], fields["P0601010__a"]
        for value in (series, main):
            if value and not isbn.is_valid(value):
                raise InvalidISBNException(f"{value} has invalid ISBN checksum!")
        if not main:
            self._problems.append("ISBN is required!")
        elif not isbn.is_czech(main):
            self._problems.append("Only czech ISBN is accepted!")
        self._problems += [text for key, text in _REQUIRED if not fields[key]]
        self._problems += [
            f"Form field {key} has half a character (a lone surrogate)."
            for key, value in fields.items()
            if not _is_unicode(value)
        ]
        if fields["P0502010__b"] == "online" and not fields["P0503010__x"]:
            self._problems.append("Format is required!")
        if not fields["P0902210__c"]:
            self._problems.append("Nakladatel is required!")
        if len(fields["P1001330__a"]) - len(ANNOTATION_PREFIX) > ANNOTATION_LIMIT:
            self._problems.append(f"Annotation is too long (> {ANNOTATION_LIMIT}).")


def exportEPublication(epub: Any) -> str:
    """Send a book to the form.

    Args:
        epub: an ``EPublication``.

    Returns:
        The text of the form's reply.

    Raises:
        InvalidISBNException, InvalidExportDataException: nothing was sent.
        ExportRejectedException: the form has rejected it, with its reason.
        ExportOutcomeUnknownException: it was sent, but nothing confirms it.
        ExportException: it could not be sent, or the form answered with an HTTP error.
    """
    if not iiOfAny(epub, EPublication):
        kind = type(epub).__name__
        raise InvalidExportDataException([f"An EPublication is required, not {kind}."])
    return _sendPostDict(PostData(epub).get_POST_data())


def _sendPostDict(post_dict: dict[str, str]) -> str:
    url = settings.ALEPH_EXPORT_URL
    shown = without_credentials(url)
    headers = {"Referer": settings.EDEPOSIT_EXPORT_REFERER}
    try:
        reply = http.post_form(url, post_dict, headers)
    except (
        AlephUnavailableException,
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.InvalidURL,
        httpx2.UnsupportedProtocol,
    ) as error:
        raise ExportException(
            f"Nothing was exported, {shown} cannot be reached: {error}"
        ) from error
    except (httpx2.HTTPError, http.ReplyError) as error:
        raise ExportOutcomeUnknownException(
            f"The outcome of the export is unknown, {shown} gave no usable answer"
            f" ({type(error).__name__}: {error})"
        ) from error
    _check_confirmed(reply)
    logger.info("exported %s: HTTP status %s", post_dict["P0501010__a"], reply.status)
    return reply.text


def _check_confirmed(reply: http.Reply) -> None:
    """Only a page with a status of success is one: a redirect may lead to a login page.

    Raises:
        ExportRejectedException, ExportOutcomeUnknownException, ExportException: it is not.
    """
    info = reply.headers.get("aleph-info", "").strip()
    if info.lower().startswith("error"):
        raise ExportRejectedException(f"Export request was rejected by import webform: {info}")
    if 400 <= reply.status < 500:
        raise ExportException(f"The export form answered with HTTP status {reply.status}.")
    if not 200 <= reply.status < 300:
        location = reply.headers.get("Location", "")[:200]
        raise ExportOutcomeUnknownException(
            f"The outcome of the export is unknown: the form answered with HTTP status"
            f" {reply.status}{f' and sent us to {location}' if location else ''}."
        )
    expected = settings.EDEPOSIT_EXPORT_CONFIRMATION
    if expected not in reply.text or not (info or reply.text.strip()):
        page = " ".join(reply.text[:200].split()) or "nothing"
        raise ExportOutcomeUnknownException(
            f"The outcome of the export is unknown: instead of the page of a successful export the"
            f" form answered: {page}"
        )


def _isbn(text: str) -> str:
    """As it is printed, but without a label, and with plain hyphens only."""
    if isbn.is_valid(text) and not re.fullmatch("[0-9Xx -]+", text):
        text = read_isbn(text)
    return text.upper()


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any, strip: bool = True) -> str:
    """A field's text without special characters at its ends; None is blank."""
    if value is None:
        return ""
    text = str(value)
    return text.strip(_SPECIAL) if strip else text.strip()


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _first(value: Any, name: str, strip: bool = True) -> str:
    """The first of a list; the form takes no more, the others are logged."""
    texts = [text for text in (_text(item, strip) for item in _list(value)) if text]
    if len(texts) > 1:
        logger.warning("only the first %s is exported, not: %s", name, ", ".join(texts[1:]))
    return texts[0] if texts else ""
