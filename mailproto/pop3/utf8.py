"""Which messages may be sent in UTF-8 mode only (RFC 6856 section 2.1): those with UTF-8 in their header."""

from __future__ import annotations

import re

_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_MAX_HEADER = 256 << 10  # octets that are looked at


class HeaderScan:
    """Reads the beginning of a message, cut anywhere, until all of its header is there.

    A body in UTF-8 is nothing new: MIME tells of it. A header with octets that are no UTF-8 is neither Internet mail
    of the old kind nor of the new one, and UTF-8 mode would do nothing for it.
    """

    def __init__(self) -> None:
        self._header = bytearray()

    def feed(self, piece: bytes) -> bool:
        """Take the next piece; return whether this was enough."""
        seen = max(len(self._header) - 2, 0)
        self._header += piece[:_MAX_HEADER]
        end = _EMPTY_LINE.search(self._header, seen)
        if end is not None:
            del self._header[end.start() :]
        return end is not None or len(self._header) >= _MAX_HEADER

    @property
    def needs_utf8(self) -> bool:
        """Whether a line of the header is in UTF-8, and not in ASCII."""
        return not self._header.isascii() and any(map(_is_utf8, self._header.split(b"\n")))


def _is_utf8(line: bytearray) -> bool:
    if line.isascii():
        return False
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
