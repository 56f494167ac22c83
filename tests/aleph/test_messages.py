"""Messages: names of the first generation, keyword names, and classes that do no work."""

import importlib
import inspect
import json
import time

import pytest

from edeposit.amqp import aleph
from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.datastructures import CountRequest
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.service import class_table

STRUCTURES = (
    "AlephRecord Author CountRequest CountResult EPeriodical EPeriodicalSemanticInfo EPublication"
    " ExportRequest ExportResult FormatEnum ISBNValidationRequest ISBNValidationResult"
    " SearchRequest SearchResult SemanticInfo"
)
QUERIES = "AuthorQuery DocumentQuery GenericQuery ICZQuery ISBNQuery PublisherQuery TitleQuery"
NAMES = {
    "": f"{STRUCTURES} {QUERIES} reactToAMQPMessage aleph export isbn settings doc_number",
    ".datastructures": STRUCTURES,
    ".datastructures.alephrecord": "AlephRecord",
    ".datastructures.author": "Author",
    ".datastructures.eperiodical": "EPeriodical",
    ".datastructures.eperiodical_semantic_info": "EPeriodicalSemanticInfo",
    ".datastructures.epublication": "EPublication Author FormatEnum",
    ".datastructures.format_enum": "FormatEnum",
    ".datastructures.requests": "SearchRequest CountRequest ISBNValidationRequest ExportRequest",
    ".datastructures.results": "SearchResult CountResult ISBNValidationResult ExportResult",
    ".datastructures.semanticinfo": "SemanticInfo",
    ".aleph": "MAX_RECORDS VALID_ALEPH_FIELDS SEARCH_URL_TEMPLATE SET_URL_TEMPLATE"
    " DOC_URL_TEMPLATE OAI_DOC_URL_TEMPLATE RECORD_URL_TEMPLATE DocumentID AlephException"
    " InvalidAlephBaseException InvalidAlephFieldException LibraryNotFoundException"
    " DocumentNotFoundException",
    ".doc_number": "getDocNumber",
    ".export": "PostData exportEPublication ExportException InvalidISBNException"
    " ExportRejectedException ANNOTATION_PREFIX",
    ".isbn": "is_valid_isbn",
    ".settings": "ALEPH_URL ALEPH_EXPORT_URL ALEPH_DEFAULT_BASE DEFAULT_LIBRARY BASE_PATH"
    " EDEPOSIT_EXPORT_SIGNATURE EDEPOSIT_EXPORT_REFERER get_all_constants substitute_globals",
}
KEYWORDS = {
    "searchInAleph": "base phrase considerSimilar field",
    "downloadRecords": "search_result from_doc",
    "getDocumentIDs": "aleph_search_result number_of_docs",
    "downloadMARCXML": "doc_id library base",
    "downloadMARCOAI": "doc_id base",
    "getListOfBases": "",
    **{f"getISBN{end}": "isbn base" for end in ("sXML", "sIDs", "Count")},
    **{f"getISSN{end}": "issn base" for end in ("sXML", "sIDs", "Count")},
    **{f"getAuthorsBooks{end}": "author base" for end in ("XML", "IDs", "Count")},
    **{f"getPublishersBooks{end}": "publisher base" for end in ("XML", "IDs", "Count")},
    **{f"getBooksTitle{end}": "title base" for end in ("XML", "IDs", "Count")},
    **{f"getICZBooks{end}": "icz base" for end in ("XML", "IDs", "Count")},
}


@pytest.mark.parametrize("module", NAMES)
def test_names_of_the_first_generation(module):
    found = importlib.import_module(f"edeposit.amqp.aleph{module}")
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("name", KEYWORDS)
def test_keyword_names_of_the_first_generation(name):
    function = getattr(aleph.aleph, name)
    assert list(inspect.signature(function).parameters) == KEYWORDS[name].split()


def test_the_functions_by_field_ask_for_theirs(simulator):
    assert aleph.aleph.getISBNCount(isbn="80-251-0225-4", base="nkc") == 1
    assert aleph.aleph.getAuthorsBooksCount(author="Karel Čapek") == 10
    assert aleph.aleph.getPublishersBooksCount(publisher="Aventinum") == 10
    assert aleph.aleph.getBooksTitleCount(title="krakatit") == 1
    assert aleph.aleph.getICZBooksCount(icz="nkc20150003059") == 1
    fields = [request.partition("request=")[2][:3] for request in simulator.requests]
    assert fields == ["sbn", "wau", "wpb", "wtl", "icz"]


def test_the_limit_of_records_is_the_setting():
    assert aleph.aleph.MAX_RECORDS == 30
    settings.substitute_globals({"MAX_RECORDS": 7})
    assert aleph.aleph.MAX_RECORDS == 7


@pytest.mark.parametrize("query", aleph.queries.QUERY_TYPES, ids=lambda query: query.__name__)
def test_queries_travel_without_a_change(query):
    own = query(*(f"value of {field}" for field in query._fields))
    table = class_table("aleph")
    assert deserialize(serialize(CountRequest(own)), table) == CountRequest(own)
    assert query.__name__ in repr(own)
    assert query.__doc__


# --- no work while a message is built ---------------------------------------------------------


@pytest.mark.parametrize("character", ["(", ")", "[<(", "&", "<", "1-"])
@pytest.mark.parametrize("name", sorted(class_table("aleph")))
def test_building_a_message_takes_time_in_proportion_to_its_length(name, character):
    table = class_table("aleph")
    cls = table[name]

    def seconds(size):
        text = (
            '<record><oai_marc><varfield id="245" i1="1" i2=" "><subfield label="a">'
            f"{character * (size // len(character))}</subfield></varfield></oai_marc></record>"
        )
        fields = dict.fromkeys(cls._fields, text)
        fields |= {field: None for field in ("parsed_info", "semantic_info") if field in fields}
        body = json.dumps({"__nt_name": name, **fields})
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            deserialize(body, table)
            best = min(best, time.process_time() - started)
        return best

    # Quadratic work would take 16 times as long.
    assert seconds(100_000) < 9 * seconds(25_000) + 0.002


def test_a_record_in_a_request_is_not_parsed(caplog):
    body = json.dumps(
        {
            "__nt_name": "CountRequest",
            "query": {
                "__nt_name": "AlephRecord",
                "base": "nkc",
                "library": "CZE01",
                "docNumber": "1",
                "xml": "<broken",
            },
        }
    )
    request = deserialize(body, class_table("aleph"))
    assert caplog.text == ""
    with pytest.raises(ValueError, match="Unknown type of request"):
        aleph.reactToAMQPMessage(request, None)
    assert caplog.text == ""
    assert request.query.parsed_info is None
    assert "cannot be read" in caplog.text
