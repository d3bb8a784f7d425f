"""The receive buffer: lines and octets, however the network cut them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.buffer import LineTooLongError, ReceiveBuffer
from tests.helpers import PROPERTY, every_cut

LINES = st.lists(st.sampled_from([b"", b"a", b"\r", b"\n", b"a\rb", b"a\nb", b"\n\r", b"x" * 12]), max_size=6)


def take_all(pieces: list[bytes], limit: int) -> list[bytes | None]:
    """Return the lines, and None for each that was too long and skipped."""
    buffer = ReceiveBuffer()
    found: list[bytes | None] = []
    skipping = False
    for piece in pieces:
        buffer.append(piece)
        while True:
            if skipping:
                if not buffer.skip_line():
                    break
                skipping = False
            try:
                line = buffer.take_line(limit)
            except LineTooLongError:
                found.append(None)
                skipping = True
                continue
            if line is None:
                break
            found.append(line)
    return found


@PROPERTY
@given(LINES, st.integers(2, 14), st.sampled_from([b"", b"\r", b"par", b"y" * 30]))
def test_lines_and_the_limit_do_not_depend_on_the_cuts(lines: list[bytes], limit: int, rest: bytes) -> None:
    wire = b"".join(line + b"\r\n" for line in lines) + rest
    # A CR before the CRLF that we put there would be a line of another shape; the plain definition is split.
    expected: list[bytes | None] = [
        line if len(line) + 2 <= limit else None for line in wire.split(b"\r\n")[: wire.count(b"\r\n")]
    ]
    tail = wire.split(b"\r\n")[-1]
    if len(tail) >= limit:
        expected.append(None)
    for pieces in every_cut(wire):
        assert take_all(pieces, limit) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r", b"\x85", b"\x0b", b"\x0c", b"\x1c", "\u2028".encode()])
def test_only_crlf_ends_a_line(end: bytes) -> None:
    buffer = ReceiveBuffer()
    buffer.append(b"NOOP" + end)
    assert buffer.take_line(100) is None
    buffer.append(b"QUIT\r\n")
    assert buffer.take_line(100) == b"NOOP" + end + b"QUIT"


@pytest.mark.parametrize("length", range(1, 12))
def test_a_line_of_exactly_the_limit_passes_finished_or_not(length: int) -> None:
    for pieces in every_cut(b"x" * length + b"\r\n"):
        assert take_all(pieces, 8) == [b"x" * length if length + 2 <= 8 else None]


def test_an_unfinished_line_is_too_long_as_soon_as_that_is_certain() -> None:
    buffer = ReceiveBuffer()
    buffer.append(b"x" * 7)
    assert buffer.take_line(8) is None
    buffer.append(b"x")
    with pytest.raises(LineTooLongError):
        buffer.take_line(8)


def test_nothing_of_an_over_long_line_is_left_behind() -> None:
    for pieces in every_cut(b"x" * 20 + b"\rMAIL\nRCPT\r\nNOOP\r\n"):
        assert take_all(pieces, 10) == [None, b"NOOP"]


@PROPERTY
@given(st.binary(max_size=40), st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(1, 9), max_size=8))
def test_counted_octets_come_out_as_they_went_in(data: bytes, counts: list[int], cuts: list[int]) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        buffer = ReceiveBuffer()
        for piece in pieces:
            buffer.append(piece)
        position = 0
        for count in counts:
            assert buffer.peek(count) == data[position : position + count]
            assert len(buffer) == len(data) - position
            assert buffer.take(count) == data[position : position + count]
            position = min(position + count, len(data))
        buffer.clear()
        assert len(buffer) == 0
        assert buffer.take(10) == b""


def test_what_waits_is_not_copied_again_and_again() -> None:
    """S29: with every octet that arrives behind a large rest, the work is that of one octet."""
    buffer = ReceiveBuffer()
    rest = b"NOOP\r\n" * 200_000
    buffer.append(rest)
    buffer.take_line(100)
    tracemalloc.start()
    for _ in range(1000):
        buffer.append(b"x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000, "the rest was copied while nobody read"
    assert len(buffer) == len(rest) - 6 + 1000


def test_the_scan_goes_on_where_it_stopped() -> None:
    """S29: octets fed one by one are searched once each, not again with every octet."""
    searched = 0

    class Counting(bytes):
        def find(self, *arguments: Any) -> int:
            nonlocal searched
            searched += len(self) - arguments[1]
            return super().find(*arguments)

    buffer = ReceiveBuffer()
    for count in range(1, 2001):
        buffer.append(b"x")
        buffer._join()
        buffer._data = Counting(buffer._data)
        assert buffer.take_line(10_000) is None
        assert searched <= 3 * count


def test_an_endless_line_takes_no_memory() -> None:
    """S24: while an over-long line is skipped, nothing of it is kept."""
    buffer = ReceiveBuffer()
    piece = b"x" * 65536
    buffer.append(piece)
    with pytest.raises(LineTooLongError):
        buffer.take_line(4096)
    tracemalloc.start()
    for _ in range(1000):
        assert not buffer.skip_line()
        buffer.append(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    buffer.append(b"\r\nNOOP\r\n")
    assert buffer.skip_line()
    assert buffer.take_line(4096) == b"NOOP"
