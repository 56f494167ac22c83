"""Replies as servers send them: charsets, bare ampersands, and XML that is nearly right."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edeposit.amqp.aleph.exceptions import InvalidRecordException
from edeposit.amqp.aleph.marcxml import MarcRecord
from edeposit.amqp.aleph.xmltext import decode, parse_xml

TEXT = "Žluťoučký kůň"


def body(charset, declared=None):
    declaration = f'<?xml version = "1.0" encoding = "{declared}"?>\n' if declared else ""
    return f"{declaration}<a>{TEXT}</a>".encode(charset)


@pytest.mark.parametrize(
    ("reply", "header"),
    [
        (body("utf-8"), None),
        (body("utf-8", "UTF-8"), "iso-8859-1"),
        (body("utf-8-sig"), "iso-8859-1"),
        (body("utf-8-sig", "utf-8"), None),
        (body("cp1250", "windows-1250"), None),
        (body("cp1250", "windows-1250"), "utf-8"),
        (body("iso-8859-2", "ISO-8859-2"), None),
        (body("iso-8859-2"), "ISO-8859-2"),
        (body("utf-16"), None),
        (body("utf-16", "utf-16"), None),
        (body("utf-16-le", "utf-16"), None),
        (body("utf-16-be"), None),
        (body("utf-32"), None),
        (body("utf-8", "utf-16"), None),
        (body("utf-8", "no-such-charset"), None),
        (body("utf-8", "punycode"), "idna"),
        (body("utf-8", "unicode_escape"), None),
        (body("utf-8", "hex"), "rot13"),
    ],
    ids=range(18),
)
def test_a_reply_is_decoded_by_its_declared_charset(reply, header):
    text = decode(reply, header)
    assert f"<a>{TEXT}</a>" in text
    assert parse_xml(text).text == TEXT
    if header is None:
        assert parse_xml(reply).text == TEXT


def test_a_text_keeps_no_declaration_of_another_charset():
    assert decode(body("cp1250", "windows-1250")) == f"<a>{TEXT}</a>"
    assert MarcRecord(body("cp1250", "windows-1250").replace(b"a>", b"record>")).xml == (
        f"<record>{TEXT}</record>"
    )


@pytest.mark.parametrize("declared", ["windows-1250", "UTF-16", "no-such", "UTF-8"])
def test_the_declaration_of_a_text_is_not_believed(declared):
    assert parse_xml(f'\ufeff<?xml version="1.0" encoding="{declared}"?><a>{TEXT}</a>').text == TEXT


def test_wrong_bytes_cost_a_character_not_the_record():
    assert parse_xml(b"<a>x\xffy</a>").text == "x\ufffdy"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<a>Black & White</a>", "Black & White"),
        ("<a>AT&T &amp; Co &lt; &#65;&#x42;</a>", "AT&T & Co < AB"),
        ("<a>x&nbsp;y &eacute;</a>", "x\xa0y é"),
        ("<a>&nonsense; & &;</a>", "&nonsense; & &;"),
        ("<a><![CDATA[a & b &amp; c]]> & d</a>", "a & b &amp; c & d"),
    ],
)
def test_a_bare_ampersand_is_text(xml, text, caplog):
    assert "".join(parse_xml(xml).itertext()) == text
    assert "was repaired" in caplog.text


def test_good_xml_is_not_called_repaired(caplog):
    caplog.set_level(logging.DEBUG)
    parse_xml("<a>&amp;<![CDATA[&]]><!-- & --></a>")
    assert "repaired" not in caplog.text


@pytest.mark.parametrize("xml", [None, 7, ["<a/>"], {"a": 1}])
def test_what_is_not_a_text_is_refused(xml):
    with pytest.raises(InvalidRecordException, match="must be a text"):
        parse_xml(xml)


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-32"])
def test_a_document_type_is_refused_in_every_charset(charset):
    xml = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode(charset)
    with pytest.raises(InvalidRecordException, match="document type"):
        parse_xml(xml)


@settings(deadline=None)
@given(st.text("<>&;![]CDATA-a#x1\ufeff ?", max_size=80), st.sampled_from(["utf-8", "utf-16"]))
def test_nothing_but_the_documented_exception(text, charset):
    for xml in (text, text.encode(charset), f"<a>{text}</a>"):
        try:
            parse_xml(xml)
        except InvalidRecordException:
            pass
