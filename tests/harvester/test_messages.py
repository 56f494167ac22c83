"""Publications and their messages, and the settings: what other programs rely on."""

import json
import logging

import pytest

from edeposit.amqp.harvester import messages, settings
from edeposit.amqp.harvester.structures import Author, Optionals, Publication
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.service import class_table

MESSAGE = {
    "__nt_name": "Publications",
    "publications": [
        {
            "__nt_name": "Publication",
            "title": "Elektřina v kostce A5",
            "price": "485,00 Kč",
            "publisher": "BEN - technická literatura",
            "authors": [
                {"__nt_name": "Author", "name": "Zemánek Václav", "URL": "http://shop.ben.cz/a"}
            ],
            "optionals": {
                "__nt_name": "Optionals",
                "sub_title": None,
                "format": None,
                "pub_date": None,
                "pub_place": None,
                "ISBN": "978-80-7300-502-3",
                "description": "…",
                "pages": "96 stran A5",
                "EAN": "9788073005023",
                "language": None,
                "edition": "1. české",
                "URL": "http://shop.ben.cz/b",
                "binding": "brožovaná V2",
                "is_ebook": False,
            },
        }
    ],
}


def test_the_message_both_ways():
    publications = deserialize(json.dumps(MESSAGE), class_table("harvester"))
    assert isinstance(publications, messages.Publications)
    assert publications.publications[0].authors[0].name == "Zemánek Václav"
    assert json.loads(serialize(publications)) == MESSAGE


def test_a_scraped_book_becomes_the_message():
    book = Publication(
        "Elektřina v kostce A5",
        [Author("Zemánek Václav", "http://shop.ben.cz/a")],
        "485,00 Kč",
        "BEN - technická literatura",
    )
    for name, value in MESSAGE["publications"][0]["optionals"].items():
        if value is not None and not name.startswith("__"):
            setattr(book.optionals, name, value)
    message = messages.Publications([book.to_namedtuple()])
    assert json.loads(serialize(message)) == MESSAGE


def test_optionals_may_be_null():
    data = {**MESSAGE["publications"][0], "optionals": None}
    assert deserialize(json.dumps(data), class_table("harvester")).optionals is None
    assert Publication("T", "A", None, None).to_namedtuple().optionals is None


def test_is_ebook_set_by_hand_counts_as_set():
    book = Publication("T", "A", None, None)
    book.optionals.pages = None
    assert book.to_namedtuple().optionals is None
    book.optionals.is_ebook = False
    book.optionals.pages = None
    assert book.to_namedtuple().optionals == messages.Optionals()


@pytest.mark.parametrize(
    "cls", [Optionals, lambda: Author("x"), lambda: Publication("", "", "", "")]
)
def test_other_attributes_are_refused(cls):
    made = cls()
    with pytest.raises(ValueError, match=f"^{type(made).__name__} has no attribute colour!$"):
        made.colour = "red"


def test_authors_come_in_many_shapes():
    authors = [Author("A")]
    assert Publication("T", authors, "", "").authors is authors
    assert [str(a) for a in Publication("T", "A, B", "", "").authors] == ["A, B"]
    assert Publication("T", None, "", "").authors == [None]
    assert Publication("T", Author("A"), "", "").authors == authors


def test_the_tool_and_the_client_know_the_classes():
    names = {"Author", "HarvestRequest", "Optionals", "Publication", "Publications"}
    assert names <= set(class_table("harvester"))


# --- settings -------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "edeposit" / "harvester.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")

    return write


def test_a_setting_of_each_type_can_be_changed(write, monkeypatch):
    monkeypatch.delenv("HARVESTER_RETRIES")
    write(
        {
            "USE_DUP_FILTER": False,
            "HARVESTER_BATCH": 7,
            "HARVESTER_DELAY": 2,
            "HARVESTER_USER_AGENT": "řepa",
            "HARVESTER_SOURCES": ["a", "b"],
        }
    )
    settings.reload()
    assert settings.USE_DUP_FILTER is False
    assert settings.HARVESTER_BATCH == 7
    assert settings.HARVESTER_DELAY == 2.0
    assert settings.HARVESTER_USER_AGENT == "řepa"
    assert settings.HARVESTER_SOURCES == ["a", "b"]
    monkeypatch.setenv("HARVESTER_SOURCES", "c, d,")
    monkeypatch.setenv("USE_DUP_FILTER", "yes")
    settings.reload()
    assert settings.HARVESTER_SOURCES == ["c", "d"]
    assert settings.USE_DUP_FILTER is True


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"USE_DUP_FILTER": "no"}, "USE_DUP_FILTER: 'no' is not true or false"),
        ({"HARVESTER_BATCH": 0}, "HARVESTER_BATCH: 0 is not a number from 1"),
        ({"HARVESTER_BATCH": True}, "HARVESTER_BATCH: True is not a whole number"),
        ({"HARVESTER_SOURCES": "ben_cz"}, "is not a list of texts"),
        ({"HARVESTER_SOURCES": [1]}, "is not a list of texts"),
        ('{\n"USE_DUP_FILTER": no\n}', r"harvester\.json: line 2, column 19: not JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_what_is_wrong_is_said_and_the_running_values_stay(write, data, message):
    write({"HARVESTER_BATCH": 9})
    settings.reload()
    write(data)
    with pytest.raises(settings.SettingsError, match=message):
        settings.reload()
    assert settings.HARVESTER_BATCH == 9


def test_unknown_settings_are_a_warning_with_the_right_name(write, caplog):
    write({"USE_DUB_FILTER": False})
    with caplog.at_level(logging.WARNING):
        settings.reload()
    assert "did you mean USE_DUP_FILTER?" in caplog.text
