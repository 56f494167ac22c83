"""Searches by one field, in three families.

``…XML`` gives the replies with the records (``downloadRecords``), ``…IDs`` the ids of the documents
(``getDocumentIDs``), ``…Count`` how many the server offers (``searchInAleph``); they raise what
those functions raise. The second argument is the base; default: ALEPH_DEFAULT_BASE.
"""

from typing import Any

from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.xservices import (
    DocumentID,
    downloadRecords,
    getDocumentIDs,
    searchInAleph,
)


def _found(field: str, phrase: str, base: str | None) -> dict[str, Any]:
    return searchInAleph(
        settings.ALEPH_DEFAULT_BASE if base is None else base, phrase, False, field
    )


def getISBNsXML(isbn: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this ISBN."""
    return downloadRecords(_found("sbn", isbn, base))


def getISBNsIDs(isbn: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this ISBN."""
    return getDocumentIDs(_found("sbn", isbn, base))


def getISBNCount(isbn: str, base: str | None = None) -> int:
    """How many documents have this ISBN."""
    return int(_found("sbn", isbn, base)["no_entries"])


def getISSNsXML(issn: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this ISSN."""
    return downloadRecords(_found("ssn", issn, base))


def getISSNsIDs(issn: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this ISSN."""
    return getDocumentIDs(_found("ssn", issn, base))


def getISSNCount(issn: str, base: str | None = None) -> int:
    """How many documents have this ISSN."""
    return int(_found("ssn", issn, base)["no_entries"])


def getAuthorsBooksXML(author: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this author."""
    return downloadRecords(_found("wau", author, base))


def getAuthorsBooksIDs(author: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this author."""
    return getDocumentIDs(_found("wau", author, base))


def getAuthorsBooksCount(author: str, base: str | None = None) -> int:
    """How many documents have this author."""
    return int(_found("wau", author, base)["no_entries"])


def getPublishersBooksXML(publisher: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this publisher."""
    return downloadRecords(_found("wpb", publisher, base))


def getPublishersBooksIDs(publisher: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this publisher."""
    return getDocumentIDs(_found("wpb", publisher, base))


def getPublishersBooksCount(publisher: str, base: str | None = None) -> int:
    """How many documents have this publisher."""
    return int(_found("wpb", publisher, base)["no_entries"])


def getBooksTitleXML(title: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this title."""
    return downloadRecords(_found("wtl", title, base))


def getBooksTitleIDs(title: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this title."""
    return getDocumentIDs(_found("wtl", title, base))


def getBooksTitleCount(title: str, base: str | None = None) -> int:
    """How many documents have this title."""
    return int(_found("wtl", title, base)["no_entries"])


def getICZBooksXML(icz: str, base: str | None = None) -> list[str]:
    """Replies with the records that have this identification number."""
    return downloadRecords(_found("icz", icz, base))


def getICZBooksIDs(icz: str, base: str | None = None) -> list[DocumentID]:
    """Ids of the documents that have this identification number."""
    return getDocumentIDs(_found("icz", icz, base))


def getICZBooksCount(icz: str, base: str | None = None) -> int:
    """How many documents have this identification number."""
    return int(_found("icz", icz, base)["no_entries"])
