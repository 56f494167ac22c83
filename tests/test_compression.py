"""Compressed bodies: undone within bounds, whatever they are."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.serializers.compression import CompressionError, compress, decompress


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "deflate", "x-gzip"]))
def test_what_was_compressed_comes_back(body, encoding):
    name, packed = compress(body, encoding)
    assert name == encoding
    assert decompress(packed, name) == body


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_give_a_body_or_a_clear_error(body, encoding):
    with contextlib.suppress(CompressionError):
        assert len(decompress(body, encoding, 10_000)) <= 10_000


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "binary", "br", "identity"])
def test_other_encodings_are_left_alone(encoding):
    assert decompress(b"body", encoding) == b"body"


@pytest.mark.parametrize("accepted", [None, "", "br", 7, ["gzip"], "identity"])
def test_what_is_not_accepted_is_sent_plain(accepted):
    assert compress(b"body", accepted) == (None, b"body")


def test_the_limit_holds_over_members_and_exactly():
    one = gzip.compress(b"x" * 60)
    assert decompress(one, "gzip", 60) == b"x" * 60
    for packed in (one, one + one):
        with pytest.raises(CompressionError, match="more than"):
            decompress(packed, "gzip", 59)
    assert len(decompress(one + one, "gzip", 120)) == 120


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_body_that_breaks_off_is_an_error(cut):
    for encoding, packed in (("gzip", gzip.compress(b"abc")), ("deflate", zlib.compress(b"abc"))):
        if cut < len(packed):
            with pytest.raises(CompressionError):
                decompress(packed[:-cut], encoding)
