"""The exact codecs, against what Python's own conversions let pass (SECURITY section 7)."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.codec import decode_base64, decode_xtext, encode_base64, encode_xtext, parse_uint, printable
from mailproto.errors import GrammarError
from tests.helpers import PROPERTY

NOT_NUMBERS = [
    b"",
    b"2_5",
    b"+25",
    b"-1",
    b" 25",
    b"25 ",
    b"25\n",
    b"25\r",
    b"25\0",
    b"0x10",
    b"1e3",
    b"1.0",
    "٣٥٠".encode(),
    "\uff11\uff12".encode(),
    "²".encode(),
    b"\xb2",
    b"9" * 21,
    b"9" * 5000,
]


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number(text: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_uint(text)


@pytest.mark.parametrize(("text", "value"), [(b"0", 0), (b"007", 7), (b"9" * 20, 10**20 - 1)])
def test_what_is_a_number(text: bytes, value: int) -> None:
    assert parse_uint(text) == value


def test_the_digits_are_bounded_by_the_caller() -> None:
    assert parse_uint(b"123", 3) == 123
    with pytest.raises(GrammarError):
        parse_uint(b"1234", 3)


NOT_BASE64 = [
    b"=AAA",
    b"AAA=BBB",
    b"AAAA====",
    b"AAAA=",
    b"dXN!lcg==",
    b"dXN!lcg==\n@@",
    b"dXNlcg==dXNlcg==",
    b"dXNlcg==\n",
    b"\ndXNlcg==",
    b"dXNl cg==",
    b"dXNlcg=",
    b"dXNlcg",
    b"dXNlch==",  # the unused bits are not zero
    b"dXNlc2Z=",
    b"A",
    b"=",
    b"====",
    b"dXNl\0",
    b"-_-_",
    ("\uff41" * 4).encode(),
]


@pytest.mark.parametrize("text", NOT_BASE64)
def test_what_is_no_base64(text: bytes) -> None:
    """S35: RFC 4954 section 4 has it refused."""
    with pytest.raises(GrammarError) as caught:
        decode_base64(text)
    assert "dXN" not in str(caught.value), "the text may be a secret"


@PROPERTY
@given(st.binary(max_size=60))
def test_base64_round_trip(data: bytes) -> None:
    assert encode_base64(data) == base64.b64encode(data)
    assert decode_base64(encode_base64(data)) == data


@PROPERTY
@given(st.text(alphabet=string.ascii_letters + string.digits + "+/=\n ", max_size=12))
def test_one_text_for_each_value(text: str) -> None:
    try:
        value = decode_base64(text.encode())
    except GrammarError:
        return
    assert encode_base64(value) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        b"a+0D+0ATo:x",
        b"rfc822;a+0A@b",
        b"x+00",
        b"+7F",
        b"+0g",
        b"+a",
        b"+",
        b"a+4",
        b"+0d",
        b"+2b",  # lower case
        b"a=b",
        b"a b",
        b"a\x7f",
        b"a\n",
        "é".encode(),
    ],
)
def test_what_is_no_xtext(text: bytes) -> None:
    """S53: not the grammar of RFC 3461 section 4, or a line end in disguise."""
    with pytest.raises(GrammarError):
        decode_xtext(text)


def test_xtext() -> None:
    assert encode_xtext(b"e=mc2+x@y z") == b"e+3Dmc2+2Bx@y+20z"
    assert decode_xtext(b"e+3Dmc2+2Bx@y+20z") == b"e=mc2+x@y z"
    assert decode_xtext(b"") == b""
    assert decode_xtext(b"+C3+A9") == "é".encode()


@PROPERTY
@given(st.binary(max_size=40))
def test_xtext_round_trip(data: bytes) -> None:
    encoded = encode_xtext(data)
    assert all(0x20 < byte < 0x7F and byte != 0x3D for byte in encoded)
    if all(byte >= 0x20 and byte != 0x7F for byte in data):
        assert decode_xtext(encoded) == data
    else:
        with pytest.raises(GrammarError):
            decode_xtext(encoded)


def test_printable_is_one_short_line() -> None:
    """S54."""
    shown = printable("\x1b[2J\r\nfake line\u202e\x85 é".encode() + b"\xff\0")
    assert shown.isascii()
    assert shown.isprintable()
    assert "fake line" in shown
    assert printable(b"") == ""
    long = printable(b"x" * 10_000, 50)
    assert long.startswith("x" * 50 + "…")
    assert "10000 octets" in long
