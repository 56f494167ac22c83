"""Names are bytes until the message, and can be had back from it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.names import clean, cut, from_wire, joined, mark, on_wire, unmark
from edeposit.amqp.ftp.request_parser import process_import_request
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.service import class_table

from .conftest import metadata, needs_root

NAME = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and not name.startswith(b".")
)


@given(st.lists(NAME, min_size=1, max_size=4))
def test_every_name_can_be_had_back_from_a_message(names):
    path = "/".join(map(os.fsdecode, [b"", b"home", *names]))
    text = on_wire(path)
    text.encode("utf-8")
    assert from_wire(text) == os.fsencode(path)


def test_a_name_that_is_utf8_is_written_as_it_is():
    for name in ("/home/Čapek.epub", "/home/100%.epub", "/home/%C8.epub", "/home/a\u2028b.epub"):
        assert on_wire(name) == name
    assert on_wire(os.fsdecode(b"/home/\xc8apek 5%.epub")) == "/home/.%C8apek 5%25.epub"


@given(st.text())
def test_texts_for_people_are_unicode_without_surrogates(text):
    clean(text + "\udcff").encode("utf-8")
    marked = mark([text, "\udcff\n"])
    told = unmark(f"a {marked} b", "/home/")
    assert told.startswith("a /home/")
    assert told.isprintable()


def test_what_is_cut_is_counted():
    assert cut("abc", 3) == "abc"
    assert cut("abcdef", 3) == "abc [... 3 more characters]"
    assert joined(["aaa", "bbb"], 100) == "aaa\nbbb"
    assert joined(["aaa", "bbb", "c"], 5) == "aaa\n[... 2 more]"


@needs_root
@pytest.mark.parametrize("limit", [0, 8_000_000])
@pytest.mark.parametrize(
    "name",
    [
        b"\xc8apek.epub",
        "Čapek.epub".encode(),
        b"\xc8 100%.epub",
        b"\xc8" * 250 + b".epub",
        b"a" * 250 + b".epub",
        b"\xff",
    ],
)
def test_a_file_is_found_by_the_path_in_the_message(home, name, limit):
    settings.substitute_globals({"MAX_INLINE_SIZE": limit})
    directory = os.fsencode(home) + b"/\xe8"
    os.mkdir(directory)
    with open(directory + b"/" + name, "wb") as file:
        file.write(b"the book")
    request = deserialize(
        serialize(process_import_request("garda", str(home), "1")), class_table("ftp")
    )
    (book,) = request.requests
    if limit:
        assert book.raw_data == b"the book"
        assert from_wire(book.filename) == directory + b"/" + name
    else:
        assert book.raw_data is None
        assert Path(book.filename).read_bytes() == b"the book"
        if len(name) < 100:
            assert from_wire(book.filename).endswith(b"/\xe8/" + name)


@needs_root
def test_a_path_that_is_too_long_to_be_opened_is_handed_over_under_a_shorter_one(home):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    descriptor = os.open(home, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=descriptor)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    with open(os.open("a.pdf", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor), "wb") as file:
        file.write(b"deep")
    os.close(descriptor)
    (book,) = process_import_request("garda", str(home), "1").requests
    assert Path(book.filename).read_bytes() == b"deep"


@needs_root
def test_metadata_in_windows_1250_travel_as_text(home):
    (home / "a.csv").write_bytes(metadata_csv().encode("cp1250"))
    (one,) = process_import_request("garda", str(home), "1").requests
    assert "září" in one.raw_data
    assert one.parsed_data.datumVydani == "září 2012"


def metadata_csv():
    import json

    return "".join(f"{key};{value}\r\n" for key, value in json.loads(metadata()).items())
