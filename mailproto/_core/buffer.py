"""The receive buffer: bytes in, lines and counted octets out, each octet looked at once.

The incoming ``bytes`` object itself becomes the buffer when nothing is left over, and an offset moves through
it; only a remainder is ever copied. Data that arrives while nobody reads is kept as it came and joined once.
"""

from __future__ import annotations

from mailproto._core.dots import Unstuffer

CRLF = b"\r\n"


class LineTooLongError(Exception):
    """A line exceeds its limit, whether or not its end has come yet. Never leaves the connection classes."""


class ReceiveBuffer:
    """Bytes from the peer that nothing has consumed yet."""

    __slots__ = ("_arrived", "_data", "_scanned", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0
        self._scanned = 0  # no CRLF begins before this index
        self._arrived: list[bytes] = []

    def __len__(self) -> int:
        return len(self._data) - self._start + sum(map(len, self._arrived))

    def __bool__(self) -> bool:
        return self._start < len(self._data) or bool(self._arrived)

    def append(self, data: bytes) -> None:
        """Add ``data``, which has to be an immutable ``bytes`` object, at the end."""
        if self._start == len(self._data) and not self._arrived:
            self._data, self._start, self._scanned = data, 0, 0
        else:
            self._arrived.append(data)

    def clear(self) -> None:
        """Forget everything."""
        self._data, self._start, self._scanned = b"", 0, 0
        self._arrived.clear()

    def take_line(self, limit: int) -> bytes | None:
        """Return the next line without its CRLF, or None when it is not complete yet.

        Only CRLF ends a line; a lone CR or LF is content. ``limit`` counts octets with the CRLF and holds for
        finished and unfinished lines alike, so that the cuts of the network decide nothing.

        Raises:
            LineTooLongError: nothing was consumed; `skip_line` gets rid of it.
        """
        if self._arrived:
            self._join()
        data, start = self._data, self._start
        end = data.find(CRLF, self._scanned)
        if end < 0:
            if len(data) - start >= limit:
                raise LineTooLongError
            self._scanned = max(start, len(data) - 1)
            return None
        behind = end + 2
        if behind - start > limit:
            raise LineTooLongError
        self._start = self._scanned = behind
        return data[start:end]

    def peek_lines(self, most: int) -> list[bytes]:
        """Return the lines that have come whole, ``most`` at most, without their CRLFs, and behind them all the rest.

        It costs as much as all that is here, and less than `take_line` for each of a few short lines.
        """
        self._join()
        return self._data[self._start :].split(CRLF, most)

    def drop(self, octets: int) -> None:
        """Forget so many octets, which are some of those that `peek_lines` has returned, up to a line's end."""
        self._start += octets
        self._scanned = self._start

    def skip_line(self) -> bool:
        """Drop everything up to and with the next CRLF; return False when that has not come yet."""
        self._join()
        end = self._data.find(CRLF, self._scanned)
        if end < 0:
            # A CR may be half of the CRLF that is looked for.
            self._data = b"\r" if self._data.endswith(b"\r") else b""
            self._start = self._scanned = 0
            return False
        self._start = self._scanned = end + 2
        return True

    def take(self, count: int) -> bytes:
        """Return up to ``count`` octets, as many as there are."""
        self._join()
        end = min(self._start + count, len(self._data))
        taken = self._data if self._start == 0 and end == len(self._data) else self._data[self._start : end]
        self._start = self._scanned = end
        return taken

    def peek(self, count: int) -> bytes:
        """Return up to ``count`` octets and leave them where they are."""
        self._join()
        return self._data[self._start : self._start + count]

    def unstuff(self, unstuffer: Unstuffer) -> bytes:
        """Return what ``unstuffer`` makes of the octets here; those behind the end of the body stay."""
        if self._arrived:
            self._join()
        content, self._start = unstuffer.feed(self._data, self._start)
        self._scanned = self._start
        return content

    def _join(self) -> None:
        if self._arrived:
            dropped = self._start
            self._data = b"".join((self._data[dropped:], *self._arrived))
            self._start, self._scanned = 0, max(0, self._scanned - dropped)
            self._arrived.clear()
