"""The X-Services of an Aleph server: searching, counting, fetching.

Three families of functions search by one field: the replies (``…XML``), document ids (``…IDs``)
and numbers (``…Count``).
"""

import logging
import re
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

from lxml import html

from edeposit.amqp.aleph import http, settings
from edeposit.amqp.aleph.exceptions import (
    AlephException,
    AlephUnavailableException,
    DocumentNotFoundException,
    InvalidAlephBaseException,
    InvalidAlephFieldException,
    InvalidRecordException,
    LibraryNotFoundException,
)
from edeposit.amqp.aleph.marcxml import elements, first, local_name, parse_xml, text_of

logger = logging.getLogger(__name__)

SEARCH_URL_TEMPLATE = "/X?op=find&request={field}={phrase}&base={base}"
SET_URL_TEMPLATE = "/X?op=ill_get_set&set_number={set_number}&start_point=1&no_docs={number}"
DOC_URL_TEMPLATE = "/X?op=ill_get_doc&doc_number={doc_id}&library={library}"
OAI_DOC_URL_TEMPLATE = "/X?op=find_doc&doc_num={doc_id}&base={base}"
RECORD_URL_TEMPLATE = "/X?op=present&set_number={set_number}&set_entry={entry}"
BASES_URL = "/F/?func=file&file_name=base-list"

VALID_ALEPH_FIELDS = (
    "wrd", "wtl", "wau", "wkw", "txt", "wpb", "wpp", "wyr", "ssn", "sbn", "isn", "ob", "wpf",
    "wpv", "wln", "wlo", "wtp", "sg", "bar", "cnb", "icz", "sys", "wpk",
)  # fmt: skip

_EMPTY_SET = "empty set"
# What the server says, in lower case, and what it means; anything else is an AlephException.
_NOT_FOUND = ("error reading document", "document not found")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class DocumentID(namedtuple("DocumentID", ["id", "library", "base"])):
    """Where a document is.

    Attributes:
        id (int): its number.
        library (str): such as ``NKC01``.
        base (str): that was searched.
    """

    __slots__ = ()


def searchInAleph(base: str, phrase: str, considerSimilar: bool, field: str) -> dict[str, Any]:
    """Search, without fetching anything.

    Args:
        base: such as ``nkc``.
        phrase: read by the server as a CCL query.
        considerSimilar: has no effect.
        field: one of ``VALID_ALEPH_FIELDS``.

    Returns:
        What the server says: ``set_number``, ``no_records``, ``no_entries``, ``session-id`` and
        ``base``. Without a hit ``no_entries`` is 0 and there is no ``set_number``.

    Raises:
        InvalidAlephFieldException: unknown field; nothing is asked.
        InvalidAlephBaseException: no base can have this name.
        AlephException: the server answers with an error, or with nothing.
        AlephUnavailableException: no answer.
    """
    if not isinstance(field, str) or field.lower() not in VALID_ALEPH_FIELDS:
        raise InvalidAlephFieldException(f"Unknown field '{field}'!")
    if not isinstance(phrase, str):
        raise AlephException(f"The phrase must be a text, not {type(phrase).__name__}.")
    url = SEARCH_URL_TEMPLATE.format(
        field=field, phrase=quote_plus(_sendable(phrase)), base=_checked_base(base)
    )
    find = first(_ask(url), "find")
    if find is None:
        raise AlephException("Aleph didn't returned any information.")
    result: dict[str, Any] = {}
    for child in find:
        name, value = local_name(child), _number_or_text(text_of(child))
        if name in result:
            before = result[name]
            result[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            result[name] = value
    result["base"] = base
    error = result.get("error")
    if error == _EMPTY_SET:
        result["no_entries"] = 0
        result.pop("set_number", None)
    elif "error" in result:
        raise AlephException(str(error))
    return result


def downloadRecords(search_result: dict[str, Any], from_doc: int = 1) -> list[str]:
    """Fetch the records of a search, several at a time, in the order of the set.

    Args:
        search_result: of ``searchInAleph``.
        from_doc: number of the first one, counted from 1.

    Returns:
        Replies to ``present``, at most ``settings.MAX_RECORDS``.

    Raises:
        AlephException: the server answers with an error, such as an expired session.
        AlephUnavailableException: no answer.
    """
    if "set_number" not in search_result:
        return []
    offered = min(_count(search_result, "no_records"), _count(search_result, "no_entries"))
    last = min(offered, from_doc + settings.MAX_RECORDS - 1)
    if offered > last:
        logger.info("%d of %d records are fetched", last - from_doc + 1, offered)
    entries = range(from_doc, last + 1)
    if not entries:
        return []
    fetch = partial(_present, _set_number(search_result["set_number"]))
    workers = min(settings.ALEPH_CONCURRENCY, len(entries))
    with ThreadPoolExecutor(workers, thread_name_prefix="aleph") as pool:
        return list(pool.map(fetch, entries))


def _present(set_number: str, entry: int) -> str:
    url = RECORD_URL_TEMPLATE.format(set_number=quote(set_number, safe=""), entry=entry)
    body = http.get(settings.ALEPH_URL + url)
    try:
        root = parse_xml(body)
    except InvalidRecordException as error:
        if not body.lstrip().startswith((b"<?xml", b"<present", b"<record")):
            raise AlephUnavailableException(f"no XML but {body[:60]!r}", url) from error
        logger.warning("entry %d cannot be read: %s", entry, error)
    else:
        problem = first(root, "error")
        if problem is not None and first(root, "record") is None:
            raise AlephException(text_of(problem))
    return body.decode("utf-8", "replace")


def getDocumentIDs(aleph_search_result: dict[str, Any], number_of_docs: int = -1) -> list[Any]:
    """Ids of the documents of a search.

    Args:
        aleph_search_result: of ``searchInAleph``.
        number_of_docs: how many at most; 0 or less means all that are offered.

    Returns:
        ``DocumentID`` without duplicates, in the order of the set.

    Raises:
        AlephException: the server answers with an error, or without a set.
        AlephUnavailableException: no answer.
    """
    if "set_number" not in aleph_search_result:
        return []
    if number_of_docs <= 0:
        number_of_docs = _count(aleph_search_result, "no_entries")
    url = SET_URL_TEMPLATE.format(
        set_number=quote(_set_number(aleph_search_result["set_number"]), safe=""),
        number=number_of_docs,
    )
    sets = list(elements(_ask(url), "ill-get-set"))
    if not sets:
        raise AlephException("Aleph didn't returned set data.")
    ids = []
    for ill_get_set in sets:
        problem = first(ill_get_set, "error")
        if problem is not None:
            raise AlephException(f"getDocumentIDs: {text_of(problem)}")
        library = first(ill_get_set, "set-library")
        for number in elements(ill_get_set, "doc-number"):
            text = text_of(number)
            if not text.isdigit():
                raise AlephException(f"getDocumentIDs: '{text[:40]}' is no document number")
            name = text_of(library) if library is not None else ""
            ids.append(DocumentID(int(text), name, aleph_search_result.get("base")))
    return list(dict.fromkeys(ids))


def downloadMARCXML(doc_id: str | int, library: str, base: str = "nkc") -> str:
    """Fetch a document in MARC 21 XML.

    Args:
        doc_id: its number.
        library: such as ``NKC01``.
        base: not used.

    Raises:
        LibraryNotFoundException: there is no such library.
        DocumentNotFoundException: there is no such document.
        AlephUnavailableException: no answer.
    """
    if not isinstance(library, str) or not _NAME.fullmatch(library):
        raise LibraryNotFoundException(f"No library can have the name {library!r}.")
    url = DOC_URL_TEMPLATE.format(doc_id=_quoted_id(doc_id), library=library)
    body = http.get(settings.ALEPH_URL + url)
    root = _parsed(body, url)
    login = first(root, "login")
    if login is not None and first(login, "error") is not None:
        raise LibraryNotFoundException(
            f"Can't download document doc_id: '{doc_id}' (probably bad library: '{library}')!\n"
            f"Message: {_errors(login)}"
        )
    document = first(root, "ill-get-doc")
    if document is not None and first(document, "error") is not None:
        raise DocumentNotFoundException(_errors(document))
    return body.decode("utf-8", "replace")


def downloadMARCOAI(doc_id: str | int, base: str) -> str:
    """Fetch a document in OAI MARC.

    Args:
        doc_id: its number, as the server wants it.
        base: a base, or a library such as ``CZE01``.

    Raises:
        DocumentNotFoundException: there is no such document.
        InvalidAlephBaseException: there is no such base.
        AlephException: the server answers with another error.
        AlephUnavailableException: no answer.
    """
    url = OAI_DOC_URL_TEMPLATE.format(doc_id=_quoted_id(doc_id), base=_checked_base(base))
    body = http.get(settings.ALEPH_URL + url)
    problem = first(_parsed(body, url), "error")
    if problem is None:
        return body.decode("utf-8", "replace")
    text = text_of(problem)
    if any(words in text.lower() for words in _NOT_FOUND):
        raise DocumentNotFoundException(text)
    if "base" in text.lower() or "library" in text.lower():
        raise InvalidAlephBaseException(
            f"{text}\nThe base you are trying to access probably doesn't exist."
        )
    raise AlephException(text)


def getListOfBases() -> list[str]:
    """Names of the bases that the server offers, in lower case, as they stand on its page.

    Raises:
        AlephUnavailableException: no answer, or no page.
    """
    body = http.get(settings.ALEPH_URL + BASES_URL)
    try:
        page = html.document_fromstring(body.decode("utf-8", "replace").lower())
    except (ValueError, html.etree.ParserError) as error:
        raise AlephUnavailableException("the list of bases is no page", BASES_URL) from error
    found = (re.search(r"[?&]local_base=([^&;]*)", link.get("href", "")) for link in page.iter("a"))
    return list(dict.fromkeys(match[1] for match in found if match and match[1]))


def getDocNumber(xml: str | bytes) -> str:
    """The document number of a ``present`` reply, with its zeros; ``-1`` if there is none."""
    try:
        number = first(parse_xml(xml), "doc_number")
    except InvalidRecordException:
        return "-1"
    return text_of(number) if number is not None else "-1"


# --- the three families -----------------------------------------------------------------------


def _base(base: str | None) -> str:
    return settings.ALEPH_DEFAULT_BASE if base is None else base


def _xml(field: str, what: str) -> Callable[..., list[str]]:
    def get(value: str, base: str | None = None) -> list[str]:
        return downloadRecords(searchInAleph(_base(base), value, False, field))

    get.__doc__ = f"Replies with the records of a search by {what}; see ``downloadRecords``."
    return get


def _ids(field: str, what: str) -> Callable[..., list[Any]]:
    def get(value: str, base: str | None = None) -> list[Any]:
        return getDocumentIDs(searchInAleph(_base(base), value, False, field))

    get.__doc__ = f"Ids of the documents of a search by {what}; see ``getDocumentIDs``."
    return get


def _number(field: str, what: str) -> Callable[..., int]:
    def get(value: str, base: str | None = None) -> int:
        return _count(searchInAleph(_base(base), value, False, field), "no_entries")

    get.__doc__ = f"How many documents a search by {what} gives; see ``searchInAleph``."
    return get


getISBNsXML, getISBNsIDs, getISBNCount = (f("sbn", "ISBN") for f in (_xml, _ids, _number))
getISSNsXML, getISSNsIDs, getISSNCount = (f("ssn", "ISSN") for f in (_xml, _ids, _number))
getAuthorsBooksXML, getAuthorsBooksIDs, getAuthorsBooksCount = (
    f("wau", "author") for f in (_xml, _ids, _number)
)
getPublishersBooksXML, getPublishersBooksIDs, getPublishersBooksCount = (
    f("wpb", "publisher") for f in (_xml, _ids, _number)
)
getBooksTitleXML, getBooksTitleIDs, getBooksTitleCount = (
    f("wtl", "title") for f in (_xml, _ids, _number)
)
getICZBooksXML, getICZBooksIDs, getICZBooksCount = (
    f("icz", "identification number") for f in (_xml, _ids, _number)
)


# --- inside -----------------------------------------------------------------------------------


def _ask(url: str) -> Any:
    return _parsed(http.get(settings.ALEPH_URL + url), url)


def _parsed(body: bytes, url: str) -> Any:
    try:
        return parse_xml(body)
    except InvalidRecordException as error:
        raise AlephUnavailableException(f"the reply is no XML: {error}", url) from error


def _errors(element: Any) -> str:
    return "\n".join(text_of(error) for error in elements(element, "error"))


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 100 else text


def _count(result: dict[str, Any], name: str) -> int:
    value = result.get(name, 0)
    return value if isinstance(value, int) else 0


def _set_number(value: Any) -> str:
    """Six digits at least; alphanumeric ones as they are."""
    text = str(value)
    return text.zfill(6) if text.isdigit() else text


def _checked_base(base: Any) -> str:
    if not isinstance(base, str) or not _NAME.fullmatch(base):
        raise InvalidAlephBaseException(f"No base can have the name {base!r}.")
    return base


def _quoted_id(doc_id: Any) -> str:
    if not isinstance(doc_id, (str, int)) or isinstance(doc_id, bool) or doc_id == "":
        raise DocumentNotFoundException(f"No document can have the number {doc_id!r}.")
    return quote(_sendable(str(doc_id)), safe="")


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
