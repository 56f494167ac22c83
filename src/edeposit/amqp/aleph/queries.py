"""Queries, as they travel inside ``SearchRequest`` and ``CountRequest``."""

from collections import namedtuple
from typing import Any

from edeposit.amqp.aleph import aleph, settings
from edeposit.amqp.aleph.datastructures import AlephRecord, CountResult, SearchResult
from edeposit.amqp.aleph.exceptions import DocumentNotFoundException, InvalidRecordException
from edeposit.amqp.aleph.marcxml import MarcRecord


class _Query(tuple[Any, ...]):
    """A search; its hits are records, or only counted."""

    __slots__ = ()
    base: str

    def _search(self) -> dict[str, Any]:
        raise NotImplementedError

    def getSearchResult(self) -> SearchResult:
        """Ask the server for the records.

        Raises:
            AlephException: and its children.
        """
        replies = aleph.downloadRecords(self._search())
        return SearchResult(_records(self.base, settings.DEFAULT_LIBRARY, replies))

    def getCountResult(self) -> CountResult:
        """Ask the server how many there are.

        Raises:
            AlephException: and its children.
        """
        return CountResult(self._search()["no_entries"])


class _FieldQuery(_Query):
    """A search for a phrase, which is the first item of the tuple, in one field."""

    __slots__ = ()
    _field = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        query: Any = super().__new__(cls, *args, **kwargs)
        # Not the default of the namedtuple: the setting may change while the daemon runs.
        return query if query.base is not None else query._replace(base=settings.ALEPH_DEFAULT_BASE)

    def _search(self) -> dict[str, Any]:
        return aleph.searchInAleph(self.base, self[0], False, self._field)


class ISBNQuery(_FieldQuery, namedtuple("ISBNQuery", "ISBN base", defaults=[None])):
    """Search by ISBN.

    Attributes:
        ISBN (str): of either length; several publications may have it.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "sbn"


class ISSNQuery(_FieldQuery, namedtuple("ISSNQuery", "ISSN base", defaults=[None])):
    """Search by ISSN.

    Attributes:
        ISSN (str): of a periodical.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "ssn"


class AuthorQuery(_FieldQuery, namedtuple("AuthorQuery", "author base", defaults=[None])):
    """Search by author.

    Attributes:
        author (str): a person or a corporation.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "wau"


class PublisherQuery(_FieldQuery, namedtuple("PublisherQuery", "publisher base", defaults=[None])):
    """Search by publisher.

    Attributes:
        publisher (str): name.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "wpb"


class TitleQuery(_FieldQuery, namedtuple("TitleQuery", "title base", defaults=[None])):
    """Search by title.

    Attributes:
        title (str): words of the title.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "wtl"


class ICZQuery(_FieldQuery, namedtuple("ICZQuery", "icz base", defaults=[None])):
    """Search by identification number.

    Attributes:
        icz (str): such as ``nkc20150003029``.
        base (str): default: the setting ALEPH_DEFAULT_BASE.
    """

    __slots__ = ()
    _field = "icz"


class GenericQuery(_Query, namedtuple("GenericQuery", "base phrase considerSimilar field")):
    """Search by any field.

    Attributes:
        base (str): such as ``nkc``.
        phrase (str): read by the server as a CCL query.
        considerSimilar (bool): has no effect.
        field (str): one of ``aleph.VALID_ALEPH_FIELDS``.
    """

    __slots__ = ()

    def _search(self) -> dict[str, Any]:
        return aleph.searchInAleph(self.base, self.phrase, self.considerSimilar, self.field)


class DocumentQuery(namedtuple("DocumentQuery", "doc_id library", defaults=[None])):
    """One document by its number.

    Attributes:
        doc_id (str): as the server wants it, such as ``000003059``.
        library (str): default: the setting DEFAULT_LIBRARY.
    """

    __slots__ = ()

    def __new__(cls, doc_id: str, library: str | None = None) -> "DocumentQuery":
        library = settings.DEFAULT_LIBRARY if library is None else library
        return super().__new__(cls, doc_id, library)

    def getSearchResult(self) -> SearchResult:
        """Fetch the document.

        Raises:
            DocumentNotFoundException: there is none, or it was deleted.
            AlephException: and its children.
        """
        xml = aleph.downloadMARCOAI(self.doc_id, self.library)
        records = _records(None, self.library, [xml], self.doc_id)
        if not records:
            raise DocumentNotFoundException("Document was deleted.")
        return SearchResult(records)

    def getCountResult(self) -> CountResult:
        """1 if there is such a document, else 0.

        Raises:
            AlephException: and its children, but not DocumentNotFoundException.
        """
        try:
            return CountResult(len(self.getSearchResult().records))
        except DocumentNotFoundException:
            return CountResult(0)


def _records(
    base: str | None, library: str, replies: list[str], number: str | None = None
) -> list[AlephRecord]:
    """Replies as records, without deleted ones; unreadable ones come with their XML alone.

    Args:
        number: of the document; default: the one in each reply.
    """
    records = []
    for xml in replies:
        try:
            record = MarcRecord(xml)
        except InvalidRecordException:  # AlephRecord.read logs what is wrong
            found = aleph.getDocNumber(xml) if number is None else number
            records.append(AlephRecord.read(base, library, found, xml))
            continue
        if not record.is_deleted:
            found = record.doc_number if number is None else number
            records.append(AlephRecord.read(base, library, found, record))
    return records


QUERY_TYPES: tuple[Any, ...] = (
    GenericQuery,
    DocumentQuery,
    ISBNQuery,
    ISSNQuery,
    AuthorQuery,
    PublisherQuery,
    TitleQuery,
    ICZQuery,
)
