"""Queries, as they travel inside ``SearchRequest`` and ``CountRequest``."""

from collections import namedtuple
from typing import Any

from edeposit.amqp.aleph import aleph, settings
from edeposit.amqp.aleph.datastructures import AlephRecord, CountResult, SearchResult
from edeposit.amqp.aleph.exceptions import DocumentNotFoundException, InvalidRecordException
from edeposit.amqp.aleph.marcxml import MarcRecord


def _records(base: str, replies: list[str]) -> SearchResult:
    """Replies as records; deleted ones are left out, unreadable ones stay as they came."""
    library = settings.DEFAULT_LIBRARY
    records = []
    for xml in replies:
        try:
            record = MarcRecord(xml)
        except InvalidRecordException:
            # Said in the log by the record itself; its number may be readable all the same.
            records.append(AlephRecord(base, library, aleph.getDocNumber(xml), xml))
            continue
        if not record.is_deleted:
            records.append(AlephRecord(base, library, record.doc_number, record))
    return SearchResult(records)


class _FieldQuery(tuple[Any, ...]):
    """Search by one field; the first field of the namedtuple is the value."""

    __slots__ = ()
    _field: str
    base: str

    def _search(self) -> dict[str, Any]:
        return aleph.searchInAleph(self.base, self[0], False, self._field)

    def getSearchResult(self) -> SearchResult:
        """Ask the server for the records.

        Raises:
            AlephException: and its children.
        """
        return _records(self.base, aleph.downloadRecords(self._search()))

    def getCountResult(self) -> CountResult:
        """Ask the server how many there are.

        Raises:
            AlephException: and its children.
        """
        return CountResult(self._search()["no_entries"])


def _field_query(name: str, value: str, field: str, text: str) -> Any:
    """A query class: value and base, whose default is the current ALEPH_DEFAULT_BASE."""
    fields = namedtuple(name, [value, "base"], defaults=[None])  # type: ignore[misc]

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        made: Any = fields(*args, **kwargs)
        base = settings.ALEPH_DEFAULT_BASE if made.base is None else made.base
        return tuple.__new__(cls, (made[0], base))

    namespace = {
        "__slots__": (),
        "__new__": new,
        "__doc__": f"Search by {text}.\n\nAttributes:\n    {value} (str): {text}.\n"
        "    base (str): default: the setting ALEPH_DEFAULT_BASE.\n",
        "__module__": __name__,
        "_field": field,
    }
    return type(name, (_FieldQuery, fields), namespace)


ISBNQuery = _field_query("ISBNQuery", "ISBN", "sbn", "ISBN")
ISSNQuery = _field_query("ISSNQuery", "ISSN", "ssn", "ISSN")
AuthorQuery = _field_query("AuthorQuery", "author", "wau", "author")
PublisherQuery = _field_query("PublisherQuery", "publisher", "wpb", "publisher")
TitleQuery = _field_query("TitleQuery", "title", "wtl", "title")
ICZQuery = _field_query("ICZQuery", "icz", "icz", "identification number")


class GenericQuery(namedtuple("GenericQuery", ["base", "phrase", "considerSimilar", "field"])):
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

    def getSearchResult(self) -> SearchResult:
        """Ask the server for the records.

        Raises:
            AlephException: and its children.
        """
        return _records(self.base, aleph.downloadRecords(self._search()))

    def getCountResult(self) -> CountResult:
        """Ask the server how many there are.

        Raises:
            AlephException: and its children.
        """
        return CountResult(self._search()["no_entries"])


class DocumentQuery(namedtuple("DocumentQuery", ["doc_id", "library"], defaults=[None])):
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
        try:
            record = MarcRecord(xml)
        except InvalidRecordException:
            return SearchResult([AlephRecord(None, self.library, self.doc_id, xml)])
        if record.is_deleted:
            raise DocumentNotFoundException("Document was deleted.")
        return SearchResult([AlephRecord(None, self.library, self.doc_id, record)])

    def getCountResult(self) -> CountResult:
        """1 if there is such a document, else 0.

        Raises:
            AlephException: and its children, but not DocumentNotFoundException.
        """
        try:
            return CountResult(len(self.getSearchResult().records))
        except DocumentNotFoundException:
            return CountResult(0)


QUERIES: tuple[Any, ...] = (
    GenericQuery, DocumentQuery, ISBNQuery, ISSNQuery, AuthorQuery, PublisherQuery, TitleQuery,
    ICZQuery,
)  # fmt: skip
