"""Which files belong together."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.ftp.pairing import Item, base_name, is_metadata, pair

ALL = {"SAME_DIR_PAIRING", "SAME_NAME_DIR_PAIRING", "ISBN_PAIRING"}


def pairs_of(*paths, flags=ALL):
    files = [tuple(path.split("/")) for path in paths]
    result = pair(files, lambda flag: flag in flags)
    return result


def item(metadata=None, ebook=None):
    return Item(
        tuple(metadata.split("/")) if metadata else None, tuple(ebook.split("/")) if ebook else None
    )


def test_two_files_of_a_directory_belong_together():
    assert pairs_of("a.json", "b.pdf").items == [item("a.json", "b.pdf")]
    assert pairs_of("d/a.pdf", "d/z.json", "e.pdf").items == [
        item("d/z.json", "d/a.pdf"),
        item(ebook="e.pdf"),
    ]
    assert pairs_of("a.json", "b.xml").items == [item("a.json"), item("b.xml")]
    assert pairs_of("a.pdf", "b.epub").items == [item(ebook="a.pdf"), item(ebook="b.epub")]


def test_equal_names_of_a_directory_belong_together():
    files = ("a.json", "a.pdf", "b.json", "c.pdf")
    assert pairs_of(*files).items == [item("a.json", "a.pdf"), item("b.json"), item(ebook="c.pdf")]


def test_case_and_the_form_of_accents_do_not_matter_when_pairing():
    assert pairs_of("a.json", "A.pdf", "c.x").items == [item("a.json", "A.pdf"), item(ebook="c.x")]
    decomposed, composed = (unicodedata.normalize(form, "Čapek") for form in ("NFD", "NFC"))
    assert pairs_of(f"{decomposed}.json", f"{composed}.epub", "x.epub").items == [
        item(f"{decomposed}.json", f"{composed}.epub"),
        item(ebook="x.epub"),
    ]


@pytest.mark.parametrize("flag", ["SAME_DIR_PAIRING", "SAME_NAME_DIR_PAIRING"])
def test_names_that_differ_in_nothing_else_are_not_imported(flag):
    result = pairs_of("A.json", "a.json", flags={flag})
    assert result.items == []
    assert result.ambiguous == [[("A.json",), ("a.json",)]]
    result = pairs_of("A.json", "a.json", "a.pdf", flags={flag})
    assert result.items == [item(ebook="a.pdf")]


def test_three_of_a_name_are_not_imported():
    result = pairs_of("a.json", "a.pdf", "a.epub", "b.pdf")
    assert result.items == [item(ebook="b.pdf")]
    assert result.ambiguous == [[("a.epub",), ("a.json",), ("a.pdf",)]]


def test_isbn_pairs_over_directories_and_spellings():
    files = ("m/80-86056-31-7.json", "m/x.json", "m/y.json", "e/9788086056319.pdf")
    assert pairs_of(*files).items == [
        item("m/80-86056-31-7.json", "e/9788086056319.pdf"),
        item("m/x.json"),
        item("m/y.json"),
    ]
    one, two = "a/80-86056-31-7.pdf", "b/8086056317.pdf"
    assert pairs_of("c/80-86056-31-7.csv", one, two).items == [
        item("c/80-86056-31-7.csv", one),
        item(ebook=two),
    ]


def test_flags_switch_each_rule_off():
    assert pairs_of("a.json", "a.pdf", flags=set()).items == [item("a.json"), item(ebook="a.pdf")]
    assert pairs_of("a.json", "b.pdf", flags={"SAME_NAME_DIR_PAIRING"}).items == [
        item("a.json"),
        item(ebook="b.pdf"),
    ]
    only_isbn = {"ISBN_PAIRING"}
    assert pairs_of("8086056317.json", "d/8086056317.pdf", flags=only_isbn).items == [
        item("8086056317.json", "d/8086056317.pdf")
    ]
    assert len(pairs_of("8086056317.json", "d/8086056317.pdf", flags=ALL - only_isbn).items) == 2


def test_names():
    assert base_name("a.tar.gz") == "a.tar"
    assert base_name(".x") == ""
    assert is_metadata("a.JSON")
    assert is_metadata("a.yml")
    assert not is_metadata("json")
    assert not is_metadata("Thumbs.db")


NAMES = st.sampled_from(["a", "b", "8086056317", "80-86056-31-7", "9788086056319", ""])
FILES = st.lists(
    st.tuples(
        st.sampled_from(["", "d/", "d/e/"]), NAMES, st.sampled_from([".json", ".pdf", ".x.csv", ""])
    ),
    max_size=12,
    unique=True,
)


@given(FILES, st.sets(st.sampled_from(sorted(ALL))))
def test_every_file_comes_exactly_once(files, flags):
    paths = sorted(
        (tuple(f"{d}{name}{suffix}".split("/")) for d, name, suffix in files),
        key=lambda parts: (parts[:-1], parts[-1]),
    )
    result = pair(paths, flags.__contains__)
    seen = [parts for one in result.items for parts in one if parts is not None]
    seen += [parts for group in result.ambiguous for parts in group]
    assert sorted(seen) == sorted(paths)
    for one in result.items:
        assert one.metadata is None or is_metadata(one.metadata[-1])
        assert one.ebook is None or not is_metadata(one.ebook[-1])
