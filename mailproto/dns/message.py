"""Questions to a name server and its answers (RFC 1035 section 4.1), as far as mail has a use for them.

Of an answer only the answer section is read. What else a server adds nobody has asked for, and to believe it is how
caches were poisoned (RFC 2181 section 5.4.1).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from mailproto.dns.names import encode_name, read_name
from mailproto.errors import GrammarError

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RECORD = struct.Struct("!2HiH")  # the time to live is of no use here
_LENGTH = struct.Struct("!H")  # of a message in a stream
_INTERNET = 1  # the class

_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x0100, 0x0080
_OPCODE, _CODE = 0x7800, 0x000F

_MAX_RECORDS = 1000  # more than anybody has; each may take two names of 127 labels to read, in few octets


class RecordType(enum.IntEnum):
    """The types of records that can be asked for (RFC 1035 section 3.2.2, RFC 3596 section 2.1, RFC 2782)."""

    A = 1
    CNAME = 5
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33


_TYPES = {kind.value: kind for kind in RecordType}


class ResponseCode(enum.IntEnum):
    """The codes of an answer that mean something of their own here; all others say that the server cannot tell."""

    NO_ERROR = 0
    NAME_ERROR = 3


class Question(NamedTuple):
    """What is asked: the records of this type that a name has."""

    name: str
    type: RecordType


class MailExchange(NamedTuple):
    """What an MX record says: the host takes mail, the sooner the lower the preference is (section 3.3.9)."""

    preference: int
    host: str


class ServiceLocation(NamedTuple):
    """What an SRV record says: the host ``target`` has the service at this port, to be asked the sooner the lower the
    priority is, and of equals the more often the greater the weight is (RFC 2782). The target ``"."`` says that
    nobody has it.
    """

    priority: int
    weight: int
    port: int
    target: str


Value: TypeAlias = str | bytes | MailExchange | ServiceLocation
"""What a record says: an IP address as text, the name that a CNAME stands for, the strings of a TXT record joined, or
what an MX or SRV record says."""

_NAMING: Mapping[RecordType, tuple[struct.Struct, Callable[..., Value]]] = {
    RecordType.CNAME: (struct.Struct(""), str),
    RecordType.MX: (struct.Struct("!H"), MailExchange),
    RecordType.SRV: (struct.Struct("!3H"), ServiceLocation),
}
"""Of the records whose value ends with a name: the numbers before it, and what they make together."""


class Record(NamedTuple):
    """A record, and the name that has it."""

    owner: str
    type: RecordType
    value: Value


class Response(NamedTuple):
    """A server's answer.

    Attributes:
        id: that of the query.
        question: None if it repeats none, or one that cannot be asked here.
        code: see `ResponseCode`.
        truncated: whether it did not fit; it has no records then, whatever came of them.
        final: whether the server speaks for the name or has asked who does. What else comes refers one to others, and
            says nothing about the name (RFC 2308 section 2.1).
        records: those of the answer section, of the types known here.
    """

    id: int
    question: Question | None
    code: int
    truncated: bool
    final: bool
    records: tuple[Record, ...] = ()


def encode_query(question: Question, message_id: int) -> bytes:
    """Return a query that asks the server to find out (RFC 1035 section 4.1.1: recursion desired).

    Raises:
        GrammarError: the name is none.
    """
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + encode_name(question.name) + _QUESTION.pack(question.type, _INTERNET)


def frame(message: bytes) -> bytes:
    """Return a message as it goes over TCP, behind its length in two octets (RFC 1035 section 4.2.2)."""
    return _LENGTH.pack(len(message)) + message


def take_framed(buffer: bytearray) -> bytes | None:
    """Take the first message off what came over TCP, None if it is not complete yet."""
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    message = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return message


def parse_response(message: bytes) -> Response:
    """Return what a server has answered.

    Raises:
        GrammarError: it is malformed, or no answer to a query.
    """
    message_id, flags, questions, answers, _, _ = _unpack(_HEADER, message, 0)
    if not flags & _RESPONSE or flags & _OPCODE:
        raise GrammarError("not the response to a query")
    question, at = _read_question(message, questions)
    truncated = bool(flags & _TRUNCATED)
    return Response(
        message_id,
        question,
        flags & _CODE,
        truncated,
        bool(flags & (_AUTHORITATIVE | _RECURSION_AVAILABLE)),
        () if truncated else tuple(_read_records(message, at, answers)),
    )


def _read_question(message: bytes, count: int) -> tuple[Question | None, int]:
    if count == 0:
        return None, _HEADER.size
    if count > 1:
        raise GrammarError("more questions than were asked")
    name, at = read_name(message, _HEADER.size)
    kind, cls = _unpack(_QUESTION, message, at)
    known = _TYPES.get(kind) if cls == _INTERNET else None
    return Question(name, known) if known is not None else None, at + _QUESTION.size


def _read_records(message: bytes, at: int, count: int) -> Iterator[Record]:
    """Yield the records, one after the other."""
    if count > _MAX_RECORDS:
        raise GrammarError(f"more than {_MAX_RECORDS} records in an answer")
    for _ in range(count):
        owner, at = read_name(message, at)
        kind, cls, _, size = _unpack(_RECORD, message, at)
        at += _RECORD.size
        end = at + size
        if end > len(message):
            raise GrammarError("the message ends within a record")
        known = _TYPES.get(kind) if cls == _INTERNET else None
        if known is not None:
            yield Record(owner, known, _read_value(message, at, end, known))
        at = end


def _read_value(message: bytes, at: int, end: int, kind: RecordType) -> Value:
    if kind is RecordType.A or kind is RecordType.AAAA:
        return _address(message[at:end], kind)
    if kind is RecordType.TXT:
        return b"".join(_strings(message[at:end]))
    numbers, make = _NAMING[kind]
    name, behind = read_name(message, at + numbers.size)
    if behind != end:
        raise GrammarError("a record of another length than its value")
    return make(*_unpack(numbers, message, at), name)


def _strings(octets: bytes) -> Iterator[bytes]:
    """Yield what stands behind each length (RFC 1035 section 3.3.14)."""
    at = 0
    while at < len(octets):
        end = at + 1 + octets[at]
        if end > len(octets):
            raise GrammarError("a string longer than its record")
        yield octets[at + 1 : end]
        at = end


def _address(octets: bytes, kind: RecordType) -> str:
    address = ipaddress.IPv4Address if kind is RecordType.A else ipaddress.IPv6Address
    try:
        return str(address(octets))
    except ValueError:
        raise GrammarError("an address of another length") from None


def _unpack(layout: struct.Struct, message: bytes, at: int) -> tuple[int, ...]:
    try:
        return layout.unpack_from(message, at)
    except struct.error:
        raise GrammarError("the message is too short") from None
