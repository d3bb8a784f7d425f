"""Line ends inside messages: found, refused, mended and measured, however the text is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.newlines import CanonicalNewlines, LineMeter, StrictNewlines, checked_pieces, has_bare_newline
from mailproto.errors import GrammarError
from tests.helpers import PROPERTY, every_cut

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
TEXT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b".", b"\0", b"\xff"]), max_size=12).map(b"".join)


@PROPERTY
@given(TEXT, st.integers(1, 5))
def test_checked_pieces_pass_as_they_are(text: bytes, size: int) -> None:
    if BARE.search(text):
        with pytest.raises(GrammarError):
            checked_pieces(text, size)
        return
    cut, ascii_only = checked_pieces(text, size)
    assert ascii_only is text.isascii()
    pieces = list(cut)
    assert b"".join(map(bytes, pieces)) == text
    assert sum(map(len, pieces)) == len(text)
    assert all(piece.isascii() is ascii_only for piece in pieces)
    assert not any(bytes(piece).endswith(b"\r") for piece in pieces), "a CRLF was cut"


def test_checked_pieces_are_not_copied() -> None:
    text = b"octets\r\n" * 4
    assert next(checked_pieces(text, 99)[0]).octets is text
    for piece in checked_pieces(text, 5)[0]:
        assert isinstance(piece.octets, memoryview)
        assert piece.octets.obj is text


@pytest.mark.parametrize("at", [0, 1, (32 << 10) - 1, 32 << 10, 70_000])
def test_one_octet_that_is_not_ascii_is_seen_in_whatever_block(at: int) -> None:
    text = bytearray(b"x" * 70_001)
    assert checked_pieces(bytes(text), 9)[1]
    text[at] = 0x80
    assert not checked_pieces(bytes(text), 9)[1]


@PROPERTY
@given(TEXT)
def test_bare_newlines_are_found(text: bytes) -> None:
    assert has_bare_newline(text) is (BARE.search(text) is not None)


@pytest.mark.parametrize("size", [(32 << 10) + i for i in range(-3, 4)])
def test_bare_newlines_are_found_where_blocks_meet(size: int) -> None:
    for end in (b"\r\n", b"\r", b"\n"):
        for behind in (b"", b"x", b"y" * 40_000):
            assert has_bare_newline(b"x" * size + end + behind) is (end != b"\r\n")


@PROPERTY
@given(TEXT)
def test_strict_passes_all_or_refuses(text: bytes) -> None:
    for pieces in every_cut(text):
        strict = StrictNewlines()
        passed = b""
        try:
            for piece in (b"", *pieces, b""):
                passed += strict.feed(piece)
            passed += strict.finish()
        except GrammarError:
            assert BARE.search(text)
            assert not BARE.search(passed), "a bare newline was let through before the refusal"
        else:
            assert passed == text
            assert not BARE.search(text)


@PROPERTY
@given(TEXT)
def test_canonical_mends_each_line_end_once(text: bytes) -> None:
    for pieces in every_cut(text):
        canonical = CanonicalNewlines()
        fed = [canonical.feed(piece) for piece in (b"", *pieces, b"")]
        assert b"".join(fed) + canonical.finish() == re.sub(rb"\r\n|\r|\n", b"\r\n", text)
        assert not any(map(has_bare_newline, fed)), "a CRLF was split"


def over_long(text: bytes, limit: int) -> int | None:
    """Return where the first line that is longer than ``limit``, with its CRLF, passes it."""
    start = 0
    for line in text.split(b"\r\n"):
        if len(line) > limit - 2 and start + limit < len(text):
            return start + limit
        start += len(line) + 2
    return None


@PROPERTY
@given(
    st.lists(st.integers(0, 14), max_size=8).map(lambda sizes: b"".join(b"x" * size + b"\r\n" for size in sizes)),
    st.integers(3, 12),
    st.integers(0, 20),
)
def test_the_meter_finds_the_first_over_long_line(text: bytes, limit: int, rest: int) -> None:
    text += b"y" * rest
    expected = over_long(text, limit)
    for pieces in every_cut(text):
        if any(piece.endswith(b"\r") for piece in pieces):
            continue  # the meter's text is cut at no CRLF
        meter = LineMeter(limit)
        found, base = None, 0
        for piece in pieces:
            fault = meter.feed(piece)
            if fault is not None:
                found = base + fault
                break
            base += len(piece)
        assert found == expected, (text, pieces)


@pytest.mark.parametrize(("length", "fine"), [(998, True), (999, False)])
def test_the_limit_of_the_rfc(length: int, fine: bool) -> None:
    """RFC 5321 section 4.5.3.1.6: 1000 octets with the CRLF."""
    assert (LineMeter(1000).feed(b"x" * length + b"\r\n") is None) is fine
