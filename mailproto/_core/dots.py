"""Transparency: stuffing and un-stuffing of leading dots as streaming transforms.

RFC 5321 section 4.5.2 and RFC 1939 section 3 agree: a line that begins with a dot is sent with a second one, and
a line that is a lone dot ends the text. Only CRLF ends a line here and only CRLF.CRLF ends a text, on both
sides, always: whatever else resembles it is content, or messages could be smuggled inside messages.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
# What a chunk may end with that could still become `_END`, longest first.
_BEGINNINGS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


def has_line_dot(text: bytes, start: int = 0) -> bool:
    """Say whether a line in ``text[start:]`` begins with a dot, the very first aside.

    To look for what is seldom there is faster than to replace it. A search for one octet is many times faster still,
    and base64 has no dots; from behind it is nearly twice as fast as from the front.
    """
    return text.find(b".", start) >= 0 and text.rfind(b"\r\n.", start) >= 0


class Unstuffer:
    """Takes the dots off a text and finds its end, however the text is cut.

    A CRLF is never split over two results, so each of them can be judged by itself.
    """

    __slots__ = ("_kept", "_virtual", "done")

    def __init__(self) -> None:
        # The text follows a line end; with that line end put in front, its first line is like any other.
        self._kept = b"\r\n"
        self._virtual = True
        self.done = False

    def feed(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Return the content that ``data[start:]`` completes, and the index in ``data`` behind what was used.

        The index is ``len(data)`` unless the end of the text was in it; then `done` is true.
        """
        if start == len(data):
            return b"", start
        if self._virtual and self._kept == b"\r\n" and data[start] != 0x2E:  # most texts: no dot comes first
            self._virtual, self._kept = False, b""
        if not self._kept:
            return self._unstuff(data, start)
        kept, self._kept = self._kept, b""
        joined = kept + data[start:]
        content, used = self._unstuff(joined, 0)
        return content, len(data) - (len(joined) - used)

    def _unstuff(self, text: bytes, start: int) -> tuple[bytes, int]:
        dot = text.find(b"\r\n.", start) if has_line_dot(text, start) else -1
        end = text.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.done = True
            used, content = end + len(_END), text[start : end + 2]
        else:
            used, content = len(text), self._keep_beginning(text, start)
        if dot != end:  # the first line with a dot is not the end: it was stuffed
            content = content.replace(b"\r\n.", b"\r\n")
        if self._virtual and content:
            content, self._virtual = content[2:], False
        return content, used

    def _keep_beginning(self, text: bytes, start: int) -> bytes:
        """Return ``text[start:]`` without what may be the beginning of an end, which is kept for next time."""
        if text[-1] in b"\r\n.":
            for beginning in _BEGINNINGS:
                if text.endswith(beginning, start):
                    self._kept = beginning
                    return text[start : len(text) - len(beginning)]
        return text[start:] if start else text


class Stuffer:
    """Puts the dots on a text, however it is cut. The text has to be of CRLF lines already."""

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = b"\r\n"  # the last two octets before what comes

    def feed(self, data: bytes) -> bytes:
        """Return ``data`` as it goes on the wire."""
        if not data:
            return data
        stuffed = data.replace(b"\r\n.", b"\r\n..") if has_line_dot(data) else data
        if data[0] == 0x2E and self._context == b"\r\n":
            stuffed = b"." + stuffed
        elif self._context[-1:] == b"\r" and data[:2] == b"\n.":
            stuffed = b"\n.." + stuffed[2:]
        self._context = (self._context + data)[-2:] if len(data) < 2 else data[-2:]
        return stuffed

    def finish(self) -> bytes:
        """Return what ends the text: a lone dot, after a line end where the text has none."""
        return b".\r\n" if self._context == b"\r\n" else b"\r\n.\r\n"
