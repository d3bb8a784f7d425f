"""Transparency (RFC 5321 section 4.5.2) against the plain definition on whole texts."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.dots import Stuffer, Unstuffer
from tests.helpers import PROPERTY, every_cut

SMUGGLED = b"MAIL FROM:<s@x>\r\n"

END_OF_DATA = [b"".join(map(bytes, zip(text))) for n in range(6) for text in itertools.product(b"\r\n.", repeat=n)]
"""Every string over CR, LF and dot of at most five octets."""


def unstuff(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    """Return the content, and what is left behind the end, or None when there is no end."""
    unstuffer = Unstuffer()
    content = b""
    for index, piece in enumerate(pieces):
        found, used = unstuffer.feed(piece)
        content += found
        if unstuffer.done:
            return content, piece[used:] + b"".join(pieces[index + 1 :])
        assert used == len(piece)
    return content, None


def whole(wire: bytes) -> tuple[bytes, bytes | None]:
    """The plain definition: the text ends at the first CRLF.CRLF, the start counting as a CRLF; dots come off."""
    text = b"\r\n" + wire
    end = text.find(b"\r\n.\r\n")
    content, rest = (text[: end + 2], text[end + 5 :]) if end >= 0 else (text, None)
    lines = content.split(b"\r\n")[1:]
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines), rest


@pytest.mark.parametrize("prefix", [b"x", b"", b"x\r\n", b"."])
def test_only_crlf_dot_crlf_ends_a_text(prefix: bytes) -> None:
    """S1, SECURITY 9.1: each of the 364 strings, whole and cut everywhere, with a smuggled command behind it."""
    assert len(END_OF_DATA) == 364
    for sequence in END_OF_DATA:
        wire = prefix + sequence + SMUGGLED
        expected, rest = whole(wire)
        ended = (b"\r\n" + wire).find(b"\r\n.\r\n") >= 0
        assert (rest is not None) == ended
        for pieces in every_cut(wire) if prefix == b"x" else ([wire], [wire[i : i + 1] for i in range(len(wire))]):
            content, left = unstuff(pieces)
            assert left == rest, (sequence, pieces)
            if ended:
                assert content == expected, (sequence, pieces)
            else:  # what may still become an end is held back
                assert expected.startswith(content), (sequence, pieces)
                assert expected.endswith(b"MAIL FROM:<s@x>\r\n")
                assert content + b"\r\n" == expected, (sequence, pieces)


TEXT = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"\r", b"\n", b"x", b"\r\n.", b"\r\n.\r"]), max_size=10).map(
    b"".join
)


@PROPERTY
@given(TEXT, TEXT)
def test_unstuffing_does_not_depend_on_the_cuts(text: bytes, behind: bytes) -> None:
    wire = text + b"\r\n.\r\n" + behind
    expected = whole(wire)
    for pieces in every_cut(wire):
        assert unstuff(pieces) == expected
        found, unstuffer = b"", Unstuffer()
        for piece in pieces:
            content, _ = unstuffer.feed(piece)
            # Each result can be judged by itself: no CRLF is split over two of them.
            assert not (found.endswith(b"\r") and content.startswith(b"\n"))
            found = content or found
            if unstuffer.done:
                break


def stuff(pieces: list[bytes]) -> bytes:
    stuffer = Stuffer()
    return b"".join(map(stuffer.feed, pieces)) + stuffer.finish()


CANONICAL = st.lists(st.sampled_from([b"", b".", b"..", b"x", b".x", b"a.b", b"..\t"]), max_size=6).map(b"\r\n".join)


@PROPERTY
@given(CANONICAL)
def test_stuffing_does_not_depend_on_the_cuts_and_is_undone(text: bytes) -> None:
    """S3: independent of the split; what is stuffed comes back, with a line end at its end."""
    complete = text if not text or text.endswith(b"\r\n") else text + b"\r\n"
    expected = re.sub(rb"(?m)^\.", b"..", complete) + b".\r\n"
    for pieces in every_cut(text):
        assert stuff(pieces) == expected
        assert stuff([b"", *pieces, b""]) == expected
    assert unstuff([expected + b"NOOP"]) == (complete, b"NOOP")


@pytest.mark.parametrize("size", range(1, 65))
def test_a_dot_at_every_place_of_a_chunk(size: int) -> None:
    """S3: a line end and a dot moved over the border of a chunk of every size."""
    for before in range(max(size - 5, 0), size + 2):
        text = b"x" * before + b"\r\n.\r\n.y\r\n"
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert stuff(pieces) == b"x" * before + b"\r\n..\r\n..y\r\n.\r\n"


def test_an_empty_text_is_a_lone_dot() -> None:
    assert stuff([]) == b".\r\n"
    assert unstuff([b".\r\n"]) == (b"", b"")


def test_a_buffer_with_something_before_the_text() -> None:
    """The command before the text stays out of it, wherever the text begins in the buffer."""
    data = b"DATA\r\n.x\r\n..y\r\n.\r\nQUIT\r\n"
    unstuffer = Unstuffer()
    content, used = unstuffer.feed(data, 6)
    assert (content, data[used:]) == (b"x\r\n.y\r\n", b"QUIT\r\n")
    # A CRLF that stands before the text is no line end of the text, but the text begins at a line start.
    assert Unstuffer().feed(b"\r\n.\r\n", 2) == (b"", 5)
