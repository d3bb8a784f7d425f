"""What is mended in the header of a message when it is submitted: fields that a mail program has left out, which a
server may add (RFC 6409 section 8), and Bcc, which nobody is to see.

A relay must not: what it passes on is somebody else's. Signatures stay good, for what is there is not touched, unless
it is no field by the syntax of RFC 5322.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import format_datetime, getaddresses

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp.messages.header import MAX_HEADER, read_header

__all__ = ["complete_header", "without_bcc"]

_MAX_VALUE = 998  # octets of a field that is one line, which bounds what the patterns below may cost
_MAX_FROM = 10_000  # octets of what is read, for the time to read it grows with the square of them
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n")
_BCC = (b"bcc", b"resent-bcc")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]"
_ID = re.compile(rf"{_WORD}+@{_WORD}+")
_MESSAGE_ID = re.compile(rb"[ \t]*<[^\x00- <>\x7f]+@[^\x00- <>\x7f]+>[ \t]*")
_DATE = re.compile(
    rb"[ \t]*(?:(?:mon|tue|wed|thu|fri|sat|sun)[ \t]*,)?[ \t]*[0-9]{1,2}"
    rb"[ \t]+(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[ \t]+(?:[0-9]{4,}|[0-9]{2})"
    rb"[ \t]+[0-9]{2}:[0-9]{2}(?::[0-9]{2})?[ \t]+(?:[+-][0-9]{4}|[a-z]{1,3})[ \t]*(?:\([^()]*\)[ \t]*)?",
    re.IGNORECASE,
)


def complete_header(
    message: Iterable[bytes], *, message_id: str, date: datetime | None = None, sender: Address | None = None
) -> Iterator[bytes]:
    """Yield a message that was submitted with what its header lacks, on top of it.

    A message whose header is malformed, or longer than 1 MiB, stays as it is: nobody knows what it has.

    Args:
        message: the message in pieces.
        message_id: a Message-ID that no other message has, without its angle brackets, for one that has none. That
            is what a submission server should do (section 8.3); the rest it may.
        date: the time, with its zone, for a message without a Date (section 8.2); None adds none.
        sender: who has submitted the message, by an address that mail can be sent to, for a Sender field in place of
            any other if he is not among those that it is From (section 8.1); None leaves it as it is. If it is not
            ASCII the message has to be one of SMTPUTF8.

    Raises:
        GrammarError: the Message-ID is none, or the date has no zone.
    """
    if not _ID.fullmatch(message_id):
        raise GrammarError(f"not a Message-ID: {message_id!a:.100}")
    if date is not None and date.tzinfo is None:
        raise GrammarError("the date of a message needs its zone")
    return _complete(iter(message), message_id, date, sender)


def without_bcc(message: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message without its Bcc and Resent-Bcc fields (RFC 5322 section 3.6.3): the copy for who is to have it.

    Args:
        message: the message in pieces, of CRLF lines.

    Raises:
        GrammarError: the header is malformed, or longer than 1 MiB, so that it cannot be told what it gives away.
    """
    pieces = iter(message)
    header, rest = read_header(pieces)
    fields = _split(header) if len(header) <= MAX_HEADER else None
    if fields is None:
        raise GrammarError("a header that cannot be read, and may have a Bcc in it")
    yield b"".join(octets for name, _, octets in fields if name not in _BCC) + rest
    yield from pieces


def _complete(
    pieces: Iterator[bytes], message_id: str, date: datetime | None, sender: Address | None
) -> Iterator[bytes]:
    header, rest = read_header(pieces)
    fields = _split(header) if len(header) <= MAX_HEADER else None
    if fields is not None:
        known = _Header(fields)
        if not known.has(b"message-id", _MESSAGE_ID):
            known.put("Message-ID", f"<{message_id}>")
        if date is not None and not known.has(b"date", _DATE):
            known.put("Date", format_datetime(date))
        if sender is not None and not known.is_from(sender):
            known.put("Sender", str(sender))
        header = known.octets()
    yield header + rest
    yield from pieces


class _Header:
    """The fields of a header: the name of each in lower case, what stands behind its colon, and all of it."""

    def __init__(self, fields: list[tuple[bytes, bytes, bytes]]) -> None:
        self._fields = fields
        self._added: list[str] = []

    def has(self, name: bytes, value: re.Pattern[bytes]) -> bool:
        """Say whether there is a field of this name, and has such a value."""
        return any(value.fullmatch(_FOLD.sub(b"", each)) for each in self._values(name, _MAX_VALUE))

    def is_from(self, address: Address) -> bool:
        """Say whether a message is from this address."""
        values = list(self._values(b"from", _MAX_FROM))
        if sum(map(len, values)) > _MAX_FROM:  # which is for long, though there should be only one
            return False
        try:
            found = getaddresses([each.decode("utf-8", "replace") for each in values])
        except RecursionError:  # comments in comments in comments
            return False
        return str(address.canonical) in (_canonical(written) for _, written in found)

    def put(self, name: str, value: str) -> None:
        """Add a field, in place of all that have this name."""
        lower = name.lower().encode()
        self._fields = [field for field in self._fields if field[0] != lower]
        self._added.append(f"{name}: {value}\r\n")

    def octets(self) -> bytes:
        """Return the header, with what was added on top."""
        return "".join(self._added).encode() + b"".join(field for _, _, field in self._fields)

    def _values(self, name: bytes, limit: int) -> Iterator[bytes]:
        return (value for each, value, _ in self._fields if each == name and len(value) <= limit)


def _split(header: bytes) -> list[tuple[bytes, bytes, bytes]] | None:
    """Return the fields of a header, None if not all of it is made of fields."""
    fields = []
    position = 0
    while position < len(header):
        match = _FIELD.match(header, position)
        if match is None:
            return None
        fields.append((match[1].lower(), match[2], match[0]))
        position = match.end()
    return fields


def _canonical(written: str) -> str:
    """Return an address as it is compared; what is none is nobody's."""
    try:
        return str(Address.parse(written).canonical)
    except GrammarError:
        return ""
