"""The header section of a message that streams by."""

from __future__ import annotations

from collections.abc import Iterator

MAX_HEADER = 1 << 20
"""Octets of a header section that are looked at."""


def read_header(pieces: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return the header section of a message, and what was read behind it, which begins with the blank line.

    A section of more than `MAX_HEADER` octets is one of that many, and a little more, and nothing is behind it.
    """
    begun = bytearray(b"\r\n")  # the blank line may be the first one
    for piece in pieces:
        before = max(len(begun) - 3, 0)
        begun += piece
        end = begun.find(b"\r\n\r\n", before)
        if end >= 0:
            return bytes(begun[2 : end + 2]), bytes(begun[end + 2 :])
        if len(begun) > MAX_HEADER:
            break
    return bytes(begun[2:]), b""
