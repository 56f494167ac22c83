"""The books that were sent: identities on disk, through kills, breakage and the old cache."""

import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import CacheError, ExtractionError
from edeposit.amqp.harvester.filters import (
    Sieve,
    dup_filter,
    filter_publication,
    filter_publications,
)
from edeposit.amqp.harvester.filters.dup_filter import SeenBooks
from edeposit.amqp.harvester.structures import Author, Publication
from edeposit.amqp.testing import wait_for

OLD_CACHE = ".edeposit_harvester_cache.json"


def book(title="Zen", isbn=None, ean=None, authors=("Pirsig",), is_ebook=None, publisher="JOTA"):
    made = Publication(title, [Author(name) for name in authors], "1 Kč", publisher)
    for name, value in (("ISBN", isbn), ("EAN", ean), ("is_ebook", is_ebook)):
        if value is not None:
            setattr(made.optionals, name, value)
    return made


def books(numbers):
    return [book(f"Kniha {number}", authors=[f"Autor {number}"]) for number in numbers]


def count():
    with SeenBooks() as seen:
        return seen.count()


# --- what is the same book ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (book(isbn="80-86056-31-7"), book("Other", isbn="9788086056319")),
        (book(isbn="978-80-86056-31-9"), book(ean="9788086056319")),
        (book(isbn="ISBN 978-80-86056-31-9 (brož.)"), book(isbn="9788086056319")),
        (book(isbn="978-80-86056-31-9 Exlibris 2"), book(isbn="9788086056319")),
        (book(isbn="80-86056-31-7, 80-86056-99-6"), book(isbn="9788086056319")),
        (book("ZEN  a umění"), book("Zen\na umění")),
        (book(isbn="podle"), book()),
        (book(ean="4006381333931"), book("Other", ean="4006381333931")),
    ],
)
def test_one_book_however_it_is_written(first, second):
    dup_filter.mark_seen([first])
    assert dup_filter.filter_publication(second) is None
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (book(isbn="978-80-86056-31-9"), book(isbn="978-80-86056-31-9", is_ebook=True)),
        (book("A", isbn="podle"), book("B", isbn="podle")),
        (book("A", isbn="80-86056-31-8"), book("B", isbn="80-86056-31-8")),
        (book(), book(publisher="Other")),
        (book(authors=["A", "B"]), book(authors=["A,B"])),
        (book("ZenPirsig", authors=[]), book()),
    ],
)
def test_other_books(first, second):
    dup_filter.mark_seen([first])
    assert dup_filter.filter_publication(second) is second
    assert first != second


def test_a_book_without_identity_is_an_error_and_never_the_same_as_another():
    nameless = book("", isbn="podle")
    with pytest.raises(ExtractionError, match="neither title nor valid ISBN or EAN"):
        filter_publication(nameless)
    assert filter_publications([nameless, book()]) == [book()]
    assert nameless != book("", isbn="podle")
    assert nameless == nameless


def test_one_broken_book_does_not_cost_the_others():
    class NoBook:
        optionals = None

    with Sieve() as sieve:
        sifted = sieve.sift([NoBook(), book(7), book()])
    assert sifted.new == [book()]
    assert len(sifted.errors) == 2


# --- looking and marking --------------------------------------------------------------------


def test_looking_marks_nothing():
    zen = book()
    assert filter_publications([zen]) == [zen]
    assert filter_publication(zen) is zen
    assert count() == 0
    dup_filter.mark_seen([zen], "jota")
    assert filter_publications([zen]) == []
    assert filter_publication(zen.to_namedtuple()) is None


def test_the_filter_can_be_switched_off():
    dup_filter.mark_seen([book()])
    settings.substitute_globals({"USE_DUP_FILTER": False})
    assert filter_publications([book(), book()]) == [book(), book()]


def test_of_two_equal_books_of_one_harvest_the_first_passes():
    with Sieve() as sieve:
        assert len(sieve.sift([book(), book(), book("B")]).new) == 2
        again = sieve.sift([book("B"), book("C")])
    assert ([b.title for b in again.new], again.known) == (["C"], 1)


def test_facade_of_the_first_generation():
    cache = dup_filter.load_cache()
    assert cache == set()
    zen = book(isbn="80-86056-31-7")
    assert dup_filter.filter_publication(zen, cache) is zen
    assert dup_filter.filter_publication(zen, cache) is None
    dup_filter.mark_seen([book("other")])
    dup_filter.save_cache(cache)
    assert cache == {"isbn:9788086056319"}
    assert cache < dup_filter.load_cache()


def test_export():
    dup_filter.mark_seen([book(isbn="80-86056-31-7"), book("Ř")], "jota")
    with SeenBooks() as seen:
        file = io.StringIO()
        seen.export(file)
    rows = {row["title"]: row for row in json.loads(file.getvalue())}
    assert rows["Zen"]["identity"] == "isbn:9788086056319"
    assert rows["Ř"]["source"] == "jota"


def test_a_hundred_thousand_books_pass_once():
    with Sieve() as sieve:
        for start in range(0, 100_000, 10_000):
            batch = books(range(start, start + 10_000))
            new = sieve.sift(batch).new
            assert len(new) == len(batch)
            sieve.mark_seen(new, "many")
    with Sieve() as sieve:
        for start in range(0, 100_000, 10_000):
            assert sieve.sift(books(range(start, start + 10_000))).new == []


# --- the old cache --------------------------------------------------------------------------


def test_the_old_cache_is_imported_with_its_isbns_computed_anew(tmp_path):
    old = ["978808086056317", "9788073005023", "ZenPirsig,Druhý", "4006381333931", "97880podle"]
    (tmp_path / OLD_CACHE).write_text(json.dumps(old), "utf-8")
    known = [
        book(isbn="80-86056-31-7"),
        book(isbn="9788086056319"),
        book(isbn="978-80-7300-502-3"),
        book(authors=["Pirsig", "Druhý"]),
        book("X", ean="4006381333931"),
    ]
    new = [book("Y", isbn="podle"), book("Zen", authors=["Pirsig"])]
    assert filter_publications([*known, *new]) == new
    # Once: later changes of the old file mean nothing.
    (tmp_path / OLD_CACHE).write_text(json.dumps(["YPirsig"]), "utf-8")
    assert filter_publications(new) == new


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', "\xff", "[" * 100_000, ""])
def test_a_broken_old_cache_is_put_aside(tmp_path, content, caplog):
    (tmp_path / OLD_CACHE).write_bytes(content.encode("latin-1"))
    assert filter_publications([book()]) == [book()]
    assert (tmp_path / f"{OLD_CACHE}.broken-1").exists()
    assert "kept as" in caplog.text


# --- a broken database ----------------------------------------------------------------------


def test_no_database_at_all_is_put_aside(tmp_path, caplog):
    path = tmp_path / "harvester.sqlite"
    path.write_bytes(b"no database" * 1000)
    assert filter_publications([book()]) == [book()]
    dup_filter.mark_seen([book()])
    assert filter_publications([book()]) == []
    assert path.with_name("harvester.sqlite.broken-1").read_bytes().startswith(b"no database")
    assert "is broken" in caplog.text


def test_what_a_damaged_database_still_has_is_kept(tmp_path):
    dup_filter.mark_seen(books(range(5000)))
    path = tmp_path / "harvester.sqlite"
    data = bytearray(path.read_bytes())
    # Some pages far behind: the tree's root and most leaves stay whole.
    data[-40_000:-8192] = os.urandom(40_000 - 8192)
    path.write_bytes(data)
    new = filter_publications(books(range(5000)))
    assert 0 < len(new) < 5000
    dup_filter.mark_seen(new)
    assert filter_publications(books(range(5000))) == []


def test_the_database_of_another_program_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "harvester.sqlite") as other:
        other.execute("CREATE TABLE x (y)")
    with pytest.raises(CacheError, match="another program"):
        filter_publications([book()])


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path):
    settings.substitute_globals({"DUP_FILTER_DATABASE": str(tmp_path / "file" / "x.sqlite")})
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(CacheError, match=r"x\.sqlite: the database of sent books cannot be used"):
        filter_publications([book()])


# --- several processes, and kills -----------------------------------------------------------

_MARKER = """
import sys
from edeposit.amqp.harvester.filters.dup_filter import SeenBooks
from edeposit.amqp.harvester.structures import Publication
first, last, size = map(int, sys.argv[1:])
with SeenBooks() as seen:
    for start in range(first, last, size):
        numbers = range(start, min(start + size, last))
        seen.mark_seen([Publication(f"Kniha {n}", f"Autor {n}", "", "JOTA") for n in numbers])
        print(start, flush=True)
"""


def marker(first, last, size):
    return subprocess.Popen(
        [sys.executable, "-c", _MARKER, str(first), str(last), str(size)], stdout=subprocess.PIPE
    )


def test_two_processes_at_once_lose_nothing():
    processes = [marker(0, 2000, 20), marker(1000, 3000, 20)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert filter_publications(books(range(3000))) == []
    assert count() == 3000


def test_two_threads_make_the_database_at_once():
    errors = []

    def mark(number):
        try:
            dup_filter.mark_seen(books([number]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=mark, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert count() == 8


def test_killed_at_any_moment_the_cache_is_whole_and_has_whole_batches():
    rng = random.Random(5)
    for attempt in range(5):
        first = attempt * 100_000
        process = marker(first, first + 100_000, 50)
        wait_for(process.stdout.readline, what="the first batch")
        for _ in range(rng.randrange(40)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        confirmed = 1 + len(process.stdout.read().splitlines())
        process.wait(10)
        process.stdout.close()
        with SeenBooks() as seen:
            assert list(seen._connection.execute("PRAGMA integrity_check")) == [("ok",)]
            assert seen.count() % 50 == 0
            assert not seen.is_new(books([first])[0])
            assert confirmed * 50 <= seen.count()
