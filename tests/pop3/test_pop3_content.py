"""Messages on their way out: cut for TOP, counted, stuffed, and never with an end inside."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.dots import Unstuffer
from mailproto.pop3._server.content import OutgoingMessage, TopCutter, WrongSizeError
from tests.data import MAIL

NASTY = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"a", b"..", b"\r\n.\r\n", b"x" * 9]), max_size=30)


def canonical(content: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def send(pieces: list[bytes], size: int, lines: int | None = None) -> bytes:
    outgoing = OutgoingMessage(size, lines)
    return b"".join([outgoing.feed(piece) for piece in pieces]) + outgoing.finish()


def received(wire: bytes) -> bytes:
    """Return what a strict client makes of it; it has to be all."""
    unstuffer = Unstuffer()
    content, used = unstuffer.feed(wire)
    assert unstuffer.done
    assert used == len(wire)
    return content


def top(content: bytes, lines: int) -> bytes:
    """Return what TOP is to give of canonical ``content``: a plain model, line by line."""
    parts = content.split(b"\r\n")
    blank = parts.index(b"") if b"" in parts[:-1] else len(parts)
    kept = parts[: blank + 1 + lines]
    return b"\r\n".join(kept) + (b"\r\n" if len(kept) < len(parts) else b"")


@given(NASTY)
def test_what_comes_out_is_the_message_however_it_is_cut(pieces: list[bytes]) -> None:
    content = canonical(b"".join(pieces))
    wire = send(pieces, len(content))
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert received(wire) == whole
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")


@given(NASTY)
def test_a_client_that_ends_lines_at_lf_sees_the_same(pieces: list[bytes]) -> None:
    wire = send(pieces, len(canonical(b"".join(pieces))))
    lines = wire.split(b"\n")
    assert lines[-1] == b""
    assert [line.removesuffix(b"\r") for line in lines].index(b".") == len(lines) - 2


@given(NASTY, st.integers(0, 5))
def test_top_is_the_header_and_so_many_lines_however_it_is_cut(pieces: list[bytes], lines: int) -> None:
    content = canonical(b"".join(pieces))
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
        pieces = [*pieces, b"" if pieces[-1].endswith(b"\r") else b"\r\n"]
    assert received(send(pieces, len(content), lines)) == top(content, lines)


@pytest.mark.parametrize("lines", [0, 1, 2, 10, 10**9])
@pytest.mark.parametrize("name", MAIL)
def test_top_of_real_mail_at_every_cut(name: str, lines: int) -> None:
    content = canonical(MAIL[name].read_bytes())[:3000]
    content = content[: content.rindex(b"\r\n") + 2]
    expected = top(content, lines)
    for position in range(1, len(content), 7):
        assert received(send([content[:position], content[position:]], len(content), lines)) == expected


def test_a_cutter_wants_no_more_than_it_needs() -> None:
    cutter = TopCutter(1)
    assert cutter.feed(b"A: b\r\n\r\n") == b"A: b\r\n\r\n"
    assert not cutter.done
    assert cutter.feed(b"one\r\ntwo\r\n") == b"one\r\n"
    assert cutter.done


def test_a_message_without_a_header_begins_with_its_empty_line() -> None:
    assert TopCutter(1).feed(b"\r\none\r\ntwo\r\n") == b"\r\none\r\n"
    assert TopCutter(0).feed(b"\r\n\r\ntwo\r\n") == b"\r\n"


def test_a_message_without_an_empty_line_is_all_header() -> None:
    assert TopCutter(0).feed(b"A: b\r\nC: d\r\n") == b"A: b\r\nC: d\r\n"


@pytest.mark.parametrize("size", [0, 7, 8, 10, 100])
def test_the_size_has_to_be_right(size: int) -> None:
    with pytest.raises(WrongSizeError):
        send([b"a\r\n", b"b\r\nc", b"\n"], size)


@pytest.mark.parametrize("size", [4, 6])
def test_the_end_of_the_last_line_may_be_counted_or_not(size: int) -> None:
    assert send([b"a\r\nb"], size) == b"a\r\nb\r\n.\r\n"


def test_a_bare_cr_at_the_end_is_a_line_end() -> None:
    assert send([b"a\r"], 3) == b"a\r\n.\r\n"
    with pytest.raises(WrongSizeError):
        send([b"a\r"], 2)


def test_an_empty_message() -> None:
    assert send([], 0) == send([b""], 0) == b".\r\n"
