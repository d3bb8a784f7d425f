"""Looking something up in the DNS, as a job for whoever can carry messages: whom to ask and when to ask the next one,
and what to believe.

It is the part of a stub resolver (RFC 1034 section 5.3.1): the servers are those that find out for others. A look-up
is a generator that yields one `Query` after the other. Whoever drives it sends the query and sends back into the
generator what comes from that server, each datagram or each piece of a stream, or None when time is up, the stream
has ended or the server cannot be reached. While the generator yields the same query again that was not the answer, or
not all of it, and more is to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from mailproto.dns.message import (
    Question,
    Record,
    RecordType,
    Response,
    ResponseCode,
    Value,
    encode_query,
    frame,
    parse_response,
    take_framed,
)
from mailproto.dns.names import encode_name
from mailproto.errors import GrammarError, MailProtoError

T = TypeVar("T")

PORT = 53
"""Where name servers listen (RFC 1035 section 4.2)."""

_MAX_ALIASES = 16
_MAX_STRANGE = 16  # messages that are no answer, which somebody may try to pass off as one (RFC 5452 section 9.3)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query to be sent, to one server and once.

    Attributes:
        server: its IP address.
        octets: what to send.
        stream: over TCP, and not as a datagram.
        timeout: seconds that the answer may take, in all.
    """

    server: str
    octets: bytes
    stream: bool
    timeout: float


Lookup: TypeAlias = Generator[Query, bytes | None, T]


class NoSuchNameError(MailProtoError):
    """There is no such name in the DNS (RFC 2308 section 2.1)."""


class LookupFailedError(MailProtoError):
    """No server could tell, or what they said makes no sense; another time one may."""


def look_up(
    question: Question,
    servers: Sequence[str],
    *,
    new_id: Callable[[], int],
    timeout: float = 5.0,
    attempts: int = 2,
) -> Lookup[list[Value]]:
    """Return the values of the records that are asked for, aliases followed; none if the name has none of this type.
    An alias that is itself asked for is not followed (RFC 1034 section 3.6.2).

    Most servers follow aliases by themselves. Where an answer ends with one, the name behind it is asked for in turn.

    Args:
        servers: the IP addresses of the name servers, the best first. All are asked before one is asked again.
        new_id: returns 16 bits that nobody can guess (RFC 5452 section 9.2).
        timeout: seconds that each server may take.
        attempts: how often each of them is asked.

    Raises:
        NoSuchNameError: there is no such name.
        LookupFailedError: none of the servers has told, or the aliases lead nowhere. That is an error (RFC 1034
            section 3.6.2), and not the same as to have no records.
        GrammarError: what is asked for is no name.
    """
    places = [server for _ in range(attempts) for server in servers]
    passed: set[str] = set()
    while True:
        records = yield from _ask_any(question, places, new_id, timeout)
        asked = _key(question.name)
        name = asked if question.type is RecordType.CNAME else _behind_aliases(asked, records, passed)
        values = [each.value for each in records if each.type is question.type and _key(each.owner) == name]
        if values or name == asked:
            return values
        question = Question(name, question.type)


def _ask_any(
    question: Question, servers: Sequence[str], new_id: Callable[[], int], timeout: float
) -> Lookup[Sequence[Record]]:
    """Return the records in the answer of the first server that can tell."""
    for server in servers:
        response = yield from _ask(question, server, new_id, timeout)
        if response is None or not response.final:
            continue
        if response.code == ResponseCode.NAME_ERROR:
            raise NoSuchNameError(f"{question.name} does not exist")
        if response.code == ResponseCode.NO_ERROR:
            return response.records
    raise LookupFailedError(f"no name server tells the {question.type.name} records of {question.name}")


def _ask(question: Question, server: str, new_id: Callable[[], int], timeout: float) -> Lookup[Response | None]:
    """Ask one server, and once more over TCP if its answer was too long for a datagram (RFC 7766 section 5)."""
    for stream in (False, True):
        message_id = new_id()
        message = encode_query(question, message_id)
        query = Query(server, frame(message) if stream else message, stream, timeout)
        response = yield from _answer(query, question, message_id)
        if response is None or not response.truncated:
            return response
    return None


def _answer(query: Query, question: Question, message_id: int) -> Lookup[Response | None]:
    """Return the answer to this query, None if none comes. What does not match it in all is none (RFC 5452
    section 9.1); that it comes from the server's address and to our port is for the driver to see to."""
    unread = bytearray()
    for _ in range(_MAX_STRANGE):
        message = (yield from _next_message(query, unread)) if query.stream else (yield query)
        if message is None:
            return None
        try:
            response = parse_response(message)
        except GrammarError:
            continue
        asked = response.question
        if response.id == message_id and asked is not None and _same(asked, question):
            return response
    return None


def _next_message(query: Query, unread: bytearray) -> Lookup[bytes | None]:
    """Return the next message of a stream, however it is cut, None if none comes; ``unread`` is the rest of it."""
    while (message := take_framed(unread)) is None:
        piece = yield query
        if piece is None:
            return None
        unread += piece
    return message


def _same(one: Question, other: Question) -> bool:
    return one.type == other.type and _key(one.name) == _key(other.name)


def _behind_aliases(name: str, records: Sequence[Record], passed: set[str]) -> str:
    """Return the name that this one stands for in the end (RFC 5321 section 5.1), and add the aliases on the way to
    those that were ``passed`` before."""
    aliases = {_key(record.owner): _key(str(record.value)) for record in records if record.type is RecordType.CNAME}
    while name in aliases:
        passed.add(name)
        name = aliases[name]
        if name in passed or len(passed) > _MAX_ALIASES or not _can_be_asked(name):
            raise LookupFailedError("the aliases lead nowhere")
    return name


def _can_be_asked(name: str) -> bool:
    try:
        encode_name(name)
    except GrammarError:
        return False
    return True


def _key(name: str) -> str:
    """Return what names are compared by: case makes no difference (RFC 1035 section 2.3.3)."""
    return name.removesuffix(".").lower()
