"""All functions that read from an Aleph server, under the name programs know them by."""

from typing import Any

from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.byfield import (
    getAuthorsBooksCount,
    getAuthorsBooksIDs,
    getAuthorsBooksXML,
    getBooksTitleCount,
    getBooksTitleIDs,
    getBooksTitleXML,
    getICZBooksCount,
    getICZBooksIDs,
    getICZBooksXML,
    getISBNCount,
    getISBNsIDs,
    getISBNsXML,
    getISSNCount,
    getISSNsIDs,
    getISSNsXML,
    getPublishersBooksCount,
    getPublishersBooksIDs,
    getPublishersBooksXML,
)
from edeposit.amqp.aleph.exceptions import (
    AlephException,
    AlephUnavailableException,
    DocumentNotFoundException,
    InvalidAlephBaseException,
    InvalidAlephFieldException,
    InvalidRecordException,
    LibraryNotFoundException,
)
from edeposit.amqp.aleph.xservices import (
    BASES_URL,
    DOC_URL_TEMPLATE,
    OAI_DOC_URL_TEMPLATE,
    RECORD_URL_TEMPLATE,
    SEARCH_URL_TEMPLATE,
    SET_URL_TEMPLATE,
    VALID_ALEPH_FIELDS,
    DocumentID,
    downloadMARCOAI,
    downloadMARCXML,
    downloadRecords,
    getDocNumber,
    getDocumentIDs,
    getListOfBases,
    searchInAleph,
)

__all__ = [
    "AlephException",
    "AlephUnavailableException",
    "BASES_URL",
    "DOC_URL_TEMPLATE",
    "DocumentID",
    "DocumentNotFoundException",
    "InvalidAlephBaseException",
    "InvalidAlephFieldException",
    "InvalidRecordException",
    "LibraryNotFoundException",
    "OAI_DOC_URL_TEMPLATE",
    "RECORD_URL_TEMPLATE",
    "SEARCH_URL_TEMPLATE",
    "SET_URL_TEMPLATE",
    "VALID_ALEPH_FIELDS",
    "downloadMARCOAI",
    "downloadMARCXML",
    "downloadRecords",
    "getAuthorsBooksCount",
    "getAuthorsBooksIDs",
    "getAuthorsBooksXML",
    "getBooksTitleCount",
    "getBooksTitleIDs",
    "getBooksTitleXML",
    "getDocNumber",
    "getDocumentIDs",
    "getICZBooksCount",
    "getICZBooksIDs",
    "getICZBooksXML",
    "getISBNCount",
    "getISBNsIDs",
    "getISBNsXML",
    "getISSNCount",
    "getISSNsIDs",
    "getISSNsXML",
    "getListOfBases",
    "getPublishersBooksCount",
    "getPublishersBooksIDs",
    "getPublishersBooksXML",
    "searchInAleph",
]


def __getattr__(name: str) -> Any:
    if name == "MAX_RECORDS":
        return settings.MAX_RECORDS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
