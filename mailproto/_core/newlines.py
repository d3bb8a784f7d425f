"""Line ends inside a message: finding bare CR and LF, and mending them, in blocks.

A bare CR or LF is the stuff that message smuggling is made of: one system takes it for a line end, the next does
not (RFC 5321 section 2.3.8 forbids both to be sent). What kinds of line end a text has, the standard library's
universal newlines can tell at 2 GB/s, three times as fast as counting CR, LF and CRLF and comparing the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import IncrementalNewlineDecoder

from mailproto.errors import GrammarError

_BLOCK = 32 << 10  # octets that are text at a time, so that a message is never copied as a whole
_BARE = "a bare CR or LF in the message; every line has to end in CRLF, and canonicalise=True makes it so"


def has_bare_newline(text: bytes) -> bool:
    """Say whether a CR or an LF in ``text`` is not half of a CRLF. The text has to be cut at no CRLF."""
    return _look_at(text)[0]


def _look_at(text: bytes) -> tuple[bool, bool]:
    """Say whether ``text`` has a bare CR or LF, and whether it is ASCII throughout, which is known by the way."""
    # Its arguments by position: by name they would cost a small message nearly as much as the look itself.
    kinds = IncrementalNewlineDecoder(None, False)
    if len(text) <= _BLOCK:
        characters = text.decode("latin-1")
        kinds.decode(characters, True)
        ascii_only = characters.isascii()
    else:
        ascii_only = True
        view = memoryview(text)
        for start in range(0, len(text), _BLOCK):
            characters = str(view[start : start + _BLOCK], "latin-1")
            kinds.decode(characters)
            ascii_only = ascii_only and characters.isascii()
        kinds.decode("", True)
    return kinds.newlines not in (None, "\r\n"), ascii_only


class Checked:
    """A piece of a text that has been looked at, and need not be again; nor is it copied. Only `checked` and
    `checked_pieces` make them.

    Attributes:
        octets: the piece. It is cut at no CRLF.
    """

    __slots__ = ("_ascii_only", "octets")

    def __init__(self, octets: bytes | memoryview, ascii_only: bool) -> None:
        self.octets = octets
        self._ascii_only = ascii_only

    def __len__(self) -> int:
        return len(self.octets)

    def __bytes__(self) -> bytes:
        return bytes(self.octets)

    def isascii(self) -> bool:
        """Say whether all of the text is ASCII."""
        return self._ascii_only


def checked(text: bytes) -> Checked:
    """Return all of ``text`` in one piece, having looked at each octet once.

    Raises:
        GrammarError: a bare CR or LF.
    """
    bare, ascii_only = _look_at(text)
    if bare:
        raise GrammarError(_BARE)
    return Checked(text, ascii_only)


def checked_pieces(text: bytes, size: int) -> tuple[Iterator[Checked], bool]:
    """Return ``text`` in pieces of about ``size`` octets, cut at no CRLF, and whether it is ASCII throughout. It is
    looked at as a whole, and refused as by `checked`.
    """
    whole = checked(text)
    return (_cut(text, size, whole.isascii()) if len(text) > size else iter((whole,))), whole.isascii()


def _cut(text: bytes, size: int, ascii_only: bool) -> Iterator[Checked]:
    view = memoryview(text)
    start = 0
    while start < len(text):
        end = start + size
        if text[end - 1 : end] == b"\r":
            end += 1
        yield Checked(view[start:end], ascii_only)
        start = end


class StrictNewlines:
    """Passes a text on as it is, however it is cut, and refuses it where a CR or LF is bare.

    Attributes:
        kept: the CR that is held back, if there is one.
    """

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = b""

    def feed(self, data: bytes) -> bytes:
        """Return ``data``, a trailing CR held back until it is known what follows.

        Raises:
            GrammarError: a bare CR or LF.
        """
        if self.kept:
            data, self.kept = self.kept + data, b""
        if data[-1:] == b"\r":
            data, self.kept = data[:-1], b"\r"
        if has_bare_newline(data):
            raise GrammarError(_BARE)
        return data

    def finish(self) -> bytes:
        """Return what was held back: nothing, or it is an error."""
        if self.kept:
            raise GrammarError("a bare CR at the end of the message")
        return b""


class CanonicalNewlines:
    """Makes a CRLF of every CR, LF and CRLF of a text, however it is cut.

    Attributes:
        kept: the CR that is held back, if there is one.
    """

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = b""

    def feed(self, data: bytes) -> bytes:
        """Return the canonical form of ``data``, a trailing CR held back until it is known what follows."""
        if self.kept:
            data, self.kept = self.kept + data, b""
        if data[-1:] == b"\r":
            data, self.kept = data[:-1], b"\r"
        if not has_bare_newline(data):
            return data
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        """Return what was held back, as a line end."""
        kept, self.kept = self.kept, b""
        return b"\r\n" if kept else b""


class LineMeter:
    """Measures the lines of a text of CRLF lines, however it is cut, but at no CRLF.

    It looks for a line end in each stretch of ``limit`` octets, not for each line end.
    """

    __slots__ = ("_begun", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = 0  # octets of the last line so far

    def feed(self, data: bytes) -> int | None:
        """Measure the next piece; return where in it a line passes the limit, CRLF included, None if none does."""
        start = -self._begun
        while start + self._limit < len(data):
            end = data.rfind(b"\r\n", max(start, 0), start + self._limit)
            if end < 0:
                return start + self._limit
            start = end + 2
        last = data.rfind(b"\r\n", max(start, 0))
        self._begun = len(data) - (last + 2 if last >= 0 else start)
        return None
