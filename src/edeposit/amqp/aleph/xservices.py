"""The X-Services of an Aleph server: searching, counting, fetching."""

import logging
import re
from collections import namedtuple
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
from edeposit.amqp.aleph.xmltext import elements, first, local_name, parse_xml, text_of

logger = logging.getLogger(__name__)

SEARCH_URL_TEMPLATE = "/X?op=find&request={field}={phrase}&base={base}"
SET_URL_TEMPLATE = "/X?op=ill_get_set&set_number={set_number}&start_point=1&no_docs={number}"
DOC_URL_TEMPLATE = "/X?op=ill_get_doc&doc_number={doc_id}&library={library}"
OAI_DOC_URL_TEMPLATE = "/X?op=find_doc&doc_num={doc_id}&base={base}"
RECORD_URL_TEMPLATE = "/X?op=present&set_number={set_number}&set_entry={entry}"
BASES_URL = "/F/?func=file&file_name=base-list"

VALID_ALEPH_FIELDS = (
    "wrd",  # all fields
    "wtl",  # title
    "wau",  # author, person or corporation
    "wkw",  # subject, keywords
    "txt",  # words of the table of contents
    "wpb",  # publisher
    "wpp",  # place of publication
    "wyr",  # year of publication
    "ssn",  # ISSN
    "sbn",  # ISBN or ISMN
    "isn",  # ISBN, ISMN or ISSN
    "ob",  # cast of musical works
    "wpf",  # periodicity
    "wpv",  # country
    "wln",  # language of the document
    "wlo",  # language of the original
    "wtp",  # type of document, such as bk
    "sg",  # shelf mark
    "bar",  # barcode
    "cnb",  # number of the national bibliography
    "icz",  # identification number
    "sys",  # system number
    "wpk",  # undocumented
)

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
        The server's reply: ``set_number``, ``no_records``, ``no_entries``, ``session-id`` and
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
    find = first(_ask(url)[1], "find")
    if find is None:
        raise AlephException("Aleph didn't returned any information.")
    values: dict[str, list[int | str]] = {}
    for child in find:
        values.setdefault(local_name(child), []).append(_number_or_text(text_of(child)))
    result: dict[str, Any] = {
        name: value[0] if len(value) == 1 else value for name, value in values.items()
    }
    result["base"] = base
    error = result.get("error")
    if error == _EMPTY_SET:
        result["no_entries"] = 0
        result.pop("set_number", None)
    elif "error" in result:
        raise AlephException(str(error))
    elif not isinstance(result.get("no_entries"), int):
        raise AlephException("Aleph did not say how many records it found.")
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
        if not body.lstrip().startswith(("<?xml", "<present", "<record")):
            raise AlephUnavailableException(f"not XML but {body[:60]!r}", url) from error
        logger.warning("entry %d cannot be read: %s", entry, error)
    else:
        problem = first(root, "error")
        if problem is not None and first(root, "record") is None:
            raise AlephException(text_of(problem))
    return body


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
    sets = list(elements(_ask(url)[1], "ill-get-set"))
    if not sets:
        raise AlephException("Aleph didn't returned set data.")
    ids = []
    for ill_get_set in sets:
        problem = first(ill_get_set, "error")
        if problem is not None:
            raise AlephException(f"getDocumentIDs: {text_of(problem)}")
        library = first(ill_get_set, "set-library")
        for number in elements(ill_get_set, "doc-number"):
            value = _number_or_text(text_of(number))
            if not isinstance(value, int):
                raise AlephException(f"getDocumentIDs: '{value[:40]}' is not a document number")
            name = text_of(library) if library is not None else ""
            ids.append(DocumentID(value, name, aleph_search_result.get("base")))
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
    body, root = _ask(url)
    login = first(root, "login")
    if login is not None and first(login, "error") is not None:
        raise LibraryNotFoundException(
            f"Can't download document doc_id: '{doc_id}' (probably bad library: '{library}')!\n"
            f"Message: {_errors(login)}"
        )
    document = first(root, "ill-get-doc")
    if document is not None and first(document, "error") is not None:
        raise DocumentNotFoundException(_errors(document))
    return body


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
    body, root = _ask(url)
    problem = first(root, "error")
    if problem is None:
        return body
    text = text_of(problem)
    if any(words in text.lower() for words in _NOT_FOUND):
        raise DocumentNotFoundException(text)
    if "base" in text.lower() or "library" in text.lower():
        raise InvalidAlephBaseException(
            f"{text}\nThe base you are trying to access probably doesn't exist."
        )
    raise AlephException(text)


def getListOfBases() -> list[str]:
    """Names of the bases that the server offers, in lower case, in the order of its page.

    Raises:
        AlephUnavailableException: no answer, or not a page.
    """
    body = http.get(settings.ALEPH_URL + BASES_URL)
    try:
        page = html.document_fromstring(body.lower())
    except (ValueError, html.etree.ParserError) as error:
        raise AlephUnavailableException("the list of bases is not a page", BASES_URL) from error
    found = (re.search(r"[?&]local_base=([^&;]*)", link.get("href", "")) for link in page.iter("a"))
    return list(dict.fromkeys(match[1] for match in found if match and match[1]))


def getDocNumber(xml: str | bytes) -> str:
    """The document number of a ``present`` reply, with its zeros; ``-1`` if there is none."""
    try:
        number = first(parse_xml(xml), "doc_number")
    except InvalidRecordException:
        return "-1"
    return text_of(number) if number is not None else "-1"


def _ask(path: str) -> tuple[str, Any]:
    """The reply, and the root of its tree."""
    url = settings.ALEPH_URL + path
    body = http.get(url)
    try:
        return body, parse_xml(body)
    except InvalidRecordException as error:
        raise AlephUnavailableException(f"the reply is not XML: {error}", url) from error


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
