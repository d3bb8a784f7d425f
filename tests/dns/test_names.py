"""Names on the wire: written, read, pointed to, and whatever else a server may send in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.dns import encode_name, read_name
from mailproto.errors import GrammarError
from tests.helpers import PROPERTY

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 253)


@PROPERTY
@given(NAME, st.binary(max_size=8), st.binary(max_size=8))
def test_a_name_is_read_as_it_was_written(name: str, before: bytes, behind: bytes) -> None:
    encoded = encode_name(name)
    assert encode_name(name + ".") == encoded
    assert read_name(before + encoded + behind, len(before)) == (name, len(before) + len(encoded))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", ".a", "a" * 64, ".".join(["a" * 63] * 4), "ä.example", "a b.example", "a\\046b", "a\0"],
)
def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    with pytest.raises(GrammarError):
        encode_name(name)


def test_the_longest_name_there_can_be() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(encode_name(longest)) == 255
    assert read_name(encode_name(longest), 0)[0] == longest
    with pytest.raises(GrammarError):
        encode_name(longest + "b")
    with pytest.raises(GrammarError):
        read_name(b"\x01x" + encode_name(longest), 0)


def test_pointers() -> None:
    """The example of RFC 1035 section 4.1.4."""
    message = bytes(20) + b"\x01F\x03ISI\x04ARPA\0" + bytes(8) + b"\x03FOO\xc0\x14" + bytes(18) + b"\xc0\x1a\0"
    assert read_name(message, 20) == ("F.ISI.ARPA", 32)
    assert read_name(message, 40) == ("FOO.F.ISI.ARPA", 46)
    assert read_name(message, 64) == ("ARPA", 66)
    assert read_name(message, 66) == (".", 67)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x03ab", id="a label that is cut off"),
        pytest.param(b"\x01a", id="no end"),
        pytest.param(b"\xc0", id="half a pointer"),
        pytest.param(b"\xc0\x00", id="a pointer to itself"),
        pytest.param(b"\x01a\xc0\x00", id="a name that goes on with itself"),
        pytest.param(b"\xc0\x02\x01a\x00", id="a pointer ahead"),
        pytest.param(b"\x40" + b"a" * 64 + b"\0", id="a length of 64"),
        pytest.param(b"\x80\x00", id="a kind of label that is reserved"),
    ],
)
def test_what_is_no_name_is_not_read(message: bytes) -> None:
    with pytest.raises(GrammarError):
        read_name(message, 0)


def test_pointers_to_pointers_end() -> None:
    """A message may be full of them, and each of its records could begin at the last one."""
    message = bytes(2) + b"".join((0xC000 | at).to_bytes(2) for at in range(0, 2000, 2))
    assert read_name(message, 2 * 127) == (".", 2 * 127 + 2)
    with pytest.raises(GrammarError):
        read_name(message, 2 * 128)


def test_octets_that_no_host_has_are_escaped() -> None:
    """Else a label with a dot in it would be two."""
    assert read_name(b"\x04a.b\\\x03\x00\xff \0", 0) == ("a\\046b\\092.\\000\\255\\032", 10)


@PROPERTY
@given(st.binary(max_size=64), st.integers(0, 70))
def test_no_octets_raise_anything_else(message: bytes, start: int) -> None:
    try:
        name, end = read_name(message, start)
    except GrammarError:
        return
    assert start < end <= len(message)
    assert name.isascii()
