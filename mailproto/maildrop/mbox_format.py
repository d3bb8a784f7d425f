"""How messages lie in an mbox file (RFC 4155 appendix A): the line before each, the quoting, the empty line behind.

The quoting is that of mboxrd, the one that can be undone: every line that begins with ``From `` behind any number of
``>`` gets one more of them. So no line of a message passes for the line that begins the next one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from mailproto.errors import MailProtoError

MAX_SEPARATOR = 1024
"""Octets of a line that may begin a message."""

_DATE = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-3]?[0-9]"
    rb" [0-2]?[0-9]:[0-5][0-9](?::[0-6][0-9])?(?: [A-Z+-][A-Za-z0-9+-]{0,7}){0,2} [0-9]{4}"
)
_UNIQUE_ID = re.compile(rb"X-UIDL: ([0-9a-f]{32}(?:\.[0-9]{1,9})?)( \(no line end\))?\n")
_RETURN_PATH = re.compile(rb"(?:\A|\r\n)Return-Path:[ \t]*<([!-;=?-~]*)>", re.IGNORECASE)
_CHANGED_BY_READERS = re.compile(
    rb"\n(?:Status|X-Status|X-Keywords|X-UID|X-UIDL|X-IMAP|X-IMAPbase|X-Mozilla-Status|X-Mozilla-Status2"
    rb"|X-Mozilla-Keys|Content-Length|Lines):[^\n]*(?:\n[ \t][^\n]*)*"
)


class MboxFormatError(MailProtoError):
    """The file is not an mbox, so nothing of it is read or changed."""


def is_separator(text: bytes, start: int = 0) -> bool:
    """Say whether the line at ``start`` of ``text`` begins a message: sender and date.

    ``From `` alone is not enough, because not every program quotes it in the messages that it delivers.
    """
    if not text.startswith(b"From ", start):
        return False
    end = text.find(b"\n", start, start + MAX_SEPARATOR)
    return end >= 0 and _DATE.search(text, start + len(b"From "), end) is not None


def lookalikes(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where there may stand what looks like the line that begins a message, and all of that line behind it.

    A line of a stranger may look so at any number of places. So it is its dates that are looked for, and what one of
    them is the date of is yielded together.
    """
    if b"From " not in text:
        return
    for date in _DATE.finditer(text):
        line = text.rfind(b"\n", max(date.start() - MAX_SEPARATOR, 0), date.start()) + 1
        first = text.find(b"From ", max(line, date.start() - MAX_SEPARATOR), date.start())
        if first >= 0:
            last = text.rfind(b"From ", first, date.start())
            yield first, text[first : last + MAX_SEPARATOR].partition(b"\n")[0]


def separator(sender: str, when: float) -> bytes:
    """Return the line that begins a message, with its date in UTC; ``when`` is in seconds since 1970."""
    return f"From {sender} {time.asctime(time.gmtime(when))}\n".encode("ascii")


def sender_of(beginning: bytes) -> str:
    """Return the sender by the Return-Path at the beginning of a message; ``MAILER-DAEMON`` if there is none."""
    match = _RETURN_PATH.search(beginning.partition(b"\r\n\r\n")[0])
    return (match[1] if match else b"").decode("ascii") or "MAILER-DAEMON"


class KeptUniqueId(NamedTuple):
    """What the first field of a header keeps.

    Attributes:
        uid: the unique-id.
        lacks_end: whether the last line of the message has no end; in the file it got one.
        end: where the field ends.
    """

    uid: str
    lacks_end: bool
    end: int


def unique_id_line(uid: str, lacks_end: bool) -> bytes:
    """Return the field that keeps a unique-id, to stand right behind the line that begins the message."""
    return f"X-UIDL: {uid}{' (no line end)' * lacks_end}\n".encode("ascii")


def find_unique_id(text: bytes, start: int) -> KeptUniqueId | None:
    """Return what the field keeps that begins at ``start``, None if it is no such field.

    Only the first field counts: a message that comes with such a field of its own has it further down.
    """
    match = _UNIQUE_ID.match(text, start)
    return KeptUniqueId(match[1].decode("ascii"), match[2] is not None, match.end()) if match else None


def without_marks(beginning: bytes) -> bytes:
    """Return the beginning of a stored message without the header fields that readers add and change.

    Where no empty line ends the header, there is nothing behind it: the one that did may have ended the message.
    """
    end = beginning.find(b"\n\n") + 1 or len(beginning)
    return _CHANGED_BY_READERS.sub(b"", beginning[:end]) + beginning[end:]


class _LineBeginnings:
    """Rewrites what stands at the beginnings of lines in a text of LF lines, however it is cut."""

    _pattern: re.Pattern[bytes]
    _replacement: bytes
    _parts: tuple[bytes, ...]
    """What may yet become the end of the pattern, the longest first."""

    __slots__ = ("_at_beginning", "_kept")

    def __init__(self) -> None:
        self._kept = b""
        self._at_beginning = True  # nothing but ``>`` since the last line end

    def feed(self, text: bytes) -> bytes:
        """Return the next piece of the text, rewritten. The end of it may be held back until more is known."""
        # A line end in front stands for the one that was passed on before.
        before = b"\n" if self._at_beginning else b""
        text = before + self._kept + text
        self._kept = self._unfinished(text)
        text = text[: len(text) - len(self._kept)]
        self._at_beginning = _ends_at_beginning(text)
        if b"From " in text:
            text = self._pattern.sub(self._replacement, text)
        return text[len(before) :]

    def finish(self) -> bytes:
        """Return what was held back."""
        return self._kept

    def _unfinished(self, text: bytes) -> bytes:
        for part in self._parts:
            if text.endswith(part) and _ends_at_beginning(text[: -len(part)]):
                return part
        return b""


def _ends_at_beginning(text: bytes) -> bool:
    return text.rstrip(b">").endswith(b"\n")


class Quoter(_LineBeginnings):
    """Puts a ``>`` before each ``From `` that begins a line or stands behind the ``>`` that begin one."""

    __slots__ = ()
    _pattern = re.compile(rb"\n(>*)From ")
    _replacement = rb"\n>\1From "
    _parts = (b"From", b"Fro", b"Fr", b"F")


class Unquoter(_LineBeginnings):
    """Takes a ``>`` off each ``From `` that stands behind the ``>`` that begin a line."""

    __slots__ = ()
    _pattern = re.compile(rb"\n>(>*)From ")
    _replacement = rb"\n\1From "
    _parts = (b">From", b">Fro", b">Fr", b">F", b">")
