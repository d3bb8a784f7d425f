"""Sending a message: line ends made CRLF, cut for TOP, counted, and then the dots put on."""

from __future__ import annotations

from mailproto._core.dots import Stuffer
from mailproto._core.newlines import CanonicalNewlines


class WrongSizeError(Exception):
    """A message is not as long as its snapshot says. Never leaves the connection."""


class TopCutter:
    """Passes on the header of a text, the empty line behind it, and so many lines of the body.

    The text may be cut anywhere but at a CRLF. ``done`` is true once nothing more will pass.
    """

    __slots__ = ("_at_line_start", "_in_header", "_lines", "done")

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._in_header = True
        self._at_line_start = True
        self.done = False

    def feed(self, text: bytes) -> bytes:
        """Return what passes of ``text``."""
        start = self._skip_header(text) if self._in_header else 0
        if self._in_header:
            return text
        body_lines = text.count(b"\r\n", start)
        if body_lines < self._lines:
            self._lines -= body_lines
            return text
        self.done = True
        return text[: self._end_of_lines(text, start)]

    def _skip_header(self, text: bytes) -> int:
        """Return where the body begins, if it does in ``text``; then ``_in_header`` is false."""
        if self._at_line_start and text.startswith(b"\r\n"):
            self._in_header = False
            return 2
        end = text.find(b"\r\n\r\n")
        self._in_header = end < 0
        self._at_line_start = text.endswith(b"\r\n")
        return end + 4

    def _end_of_lines(self, text: bytes, start: int) -> int:
        for _ in range(self._lines):
            start = text.find(b"\r\n", start) + 2
        return start


class OutgoingMessage:
    """A message on its way out. What comes out of it cannot hold its own end, whatever goes in.

    Attributes:
        sent: octets that passed so far, without the dots put on.
    """

    __slots__ = ("_cutter", "_newlines", "_octets", "_size", "_stuffer", "_unfinished", "sent")

    def __init__(self, size: int, lines: int | None) -> None:
        """Send a message of ``size`` octets, or only its top with so many ``lines``."""
        self._size = size
        self._octets = 0
        self.sent = 0
        self._unfinished = False
        self._newlines = CanonicalNewlines()
        self._cutter = TopCutter(lines) if lines is not None else None
        self._stuffer = Stuffer()

    @property
    def full(self) -> bool:
        """Whether all has been sent that is to be."""
        return self._cutter is not None and self._cutter.done

    def feed(self, data: bytes) -> bytes:
        """Return what goes on the wire for ``data``, the next piece of the message.

        Raises:
            WrongSizeError: this is more than there should be.
        """
        return self._pass_on(self._newlines.feed(data))

    def finish(self) -> bytes:
        """Return what ends the message.

        Raises:
            WrongSizeError: something is missing. A line end that the last line lacks is not: it gets one here.
        """
        rest = self._pass_on(self._newlines.finish())
        if not self.full:
            added = 2 if self._unfinished else 0
            if self._size not in (self._octets, self._octets + added):
                raise WrongSizeError
        return rest + self._stuffer.finish()

    def _pass_on(self, text: bytes) -> bytes:
        if not text or self.full:
            return b""
        self._octets += len(text)
        if self._octets > self._size:
            raise WrongSizeError
        self._unfinished = text[-2:] != b"\r\n"
        if self._cutter is not None:
            text = self._cutter.feed(text)
        self.sent += len(text)
        return self._stuffer.feed(text)
