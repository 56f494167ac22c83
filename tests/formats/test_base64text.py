"""Base64 as a text that is decoded in pieces, and as a file."""

import base64
import io
import os
import random
import resource
import subprocess
import sys
import zipfile

import pytest

from edeposit.amqp.formats.base64text import Base64Error, Base64Text, encoded

CONTENT = random.Random(1).randbytes(300_001)


def lines(content, width, end):
    text = base64.b64encode(content).decode()
    return end.join(text[at : at + width] for at in range(0, len(text), width)) + end


TEXTS = {
    "one line": base64.b64encode(CONTENT).decode(),
    "lines of 80": lines(CONTENT, 80, "\n"),
    "lines of 77, odd": lines(CONTENT, 77, "\r\n"),
    "every character": lines(CONTENT, 1, " "),
    "a large hole": "\t" * 200_000 + base64.b64encode(CONTENT).decode() + "\n" * 100_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_content_and_size_are_right(name):
    text = Base64Text(TEXTS[name])
    assert text.size == len(CONTENT)
    pieces = list(text)
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 64 * 1024
    assert b"".join(text) == CONTENT  # and again


@pytest.mark.parametrize("name", TEXTS)
def test_it_can_be_read_at_any_place(name):
    file = Base64Text(TEXTS[name]).open()
    chance = random.Random(2)
    for _ in range(200):
        at, count = chance.randrange(len(CONTENT) + 10), chance.randrange(100_000)
        assert file.seek(at) == at
        assert file.read(count) == CONTENT[at : at + count]
    assert file.seek(-3, io.SEEK_END) == len(CONTENT) - 3
    assert file.read() == CONTENT[-3:]


@pytest.mark.parametrize("length", range(8))
def test_short_contents(length):
    content = CONTENT[:length]
    text = Base64Text(base64.b64encode(content).decode())
    assert (text.size, b"".join(text), text.open().read()) == (length, content, content)


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "a===",
        "QUJ=QUJD",
        "QUJD*UJD",
        "QUI=QUI=",
        "ř" * 4,
        "====",
        "QUJD\0",
        None,
        7,
        b"QQ==",
    ],
)
def test_what_is_not_base64_is_an_error(text):
    with pytest.raises(Base64Error, match="not"):
        b"".join(Base64Text(text))


@pytest.mark.parametrize("bad", ["=", "*"])
def test_a_fault_in_the_middle_of_much_is_found(bad):
    text = TEXTS["one line"]
    for at in (65_535, 65_536, 131_072, len(text) // 2):
        with pytest.raises(Base64Error):
            b"".join(Base64Text(text[:at] + bad + text[at + 1 :]))


def test_zipfile_reads_it():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(50):
            archive.writestr(str(number), os.urandom(5000))
    text = lines(buffer.getvalue(), 76, "\n")
    with zipfile.ZipFile(Base64Text(text).open()) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 50


def test_a_file_becomes_base64():
    assert encoded(io.BytesIO(CONTENT)) == TEXTS["one line"]


def test_memory_is_that_of_the_text():
    code = """
import resource
from edeposit.amqp.formats.base64text import Base64Text
text = "QUJDRA==" [:4] * 25_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(map(len, Base64Text(text))) == 75_000_000
file = Base64Text(text).open()
file.seek(70_000_000)
assert file.read(3) in (b"ABC", b"BCA", b"CAB")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert resource.getpagesize()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4096
