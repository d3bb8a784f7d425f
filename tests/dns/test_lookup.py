"""The job of looking something up: whom it asks, what it believes, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from mailproto.dns import (
    LookupFailedError,
    MailExchange,
    NoSuchNameError,
    Query,
    Question,
    RecordType,
    encode_query,
    look_up,
)
from mailproto.dns.message import Value
from mailproto.errors import GrammarError
from tests.dns import wire
from tests.helpers import every_cut

MX = Question("Example.org", RecordType.MX)
Server = Callable[[Query], bytes | None]


def run(
    *answers: Server, question: Question = MX, servers: Sequence[str] = ("one", "two")
) -> tuple[list[Value], list[Query]]:
    """Look it up, each server in turn saying one of ``answers``; return what was found, and what was asked."""
    asked: list[Query] = []
    lookup = look_up(question, servers, new_id=count(7).__next__, timeout=3)
    said = iter(answers)
    try:
        query = next(lookup)
        while True:
            if not asked or asked[-1] is not query:
                asked.append(query)
            query = lookup.send(next(said)(query))
    except StopIteration as stop:
        assert next(said, None) is None, "it was over before that"
        return stop.value, asked


def message_of(query: Query) -> bytes:
    """Return the message that a query sends."""
    return query.octets[2:] if query.stream else query.octets


def reply(query: Query, *records: bytes, **how: Any) -> bytes:
    """Return an answer, as it comes where the query goes."""
    message = wire.answer(message_of(query), *records, **how)
    return len(message).to_bytes(2) + message if query.stream else message


def silent(_: Query) -> None:
    """Say nothing."""


def says(*records: bytes, code: int = 0, flags: int = wire.USUAL) -> Server:
    """Answer with these records."""
    return lambda query: reply(query, *records, code=code, flags=flags)


GOOD = says(wire.mx("example.ORG", 10, "mx.example.org"))
FOUND: list[Value] = [MailExchange(10, "mx.example.org")]


def test_the_first_server_tells() -> None:
    found, (query,) = run(GOOD)
    assert found == FOUND
    assert (query.server, query.stream, query.timeout) == ("one", False, 3)
    assert message_of(query)[:2] == b"\0\7"


def test_there_may_be_none() -> None:
    assert run(says())[0] == []
    assert run(says(wire.record("example.org", wire.SOA, b"whatever")))[0] == []


@pytest.mark.parametrize(
    "unable",
    [
        pytest.param(silent, id="silent"),
        pytest.param(says(code=1), id="does not understand"),
        pytest.param(says(code=2), id="has failed"),
        pytest.param(says(code=5), id="refuses"),
        pytest.param(says(flags=wire.RESPONSE | wire.ASKED), id="refers to others"),
        pytest.param(says(code=3, flags=wire.RESPONSE), id="does not speak for the name"),
    ],
)
def test_the_next_server_is_asked_and_then_all_again(unable: Server) -> None:
    found, asked = run(unable, unable, unable, GOOD)
    assert found == FOUND
    assert [query.server for query in asked] == ["one", "two", "one", "two"]
    assert len({message_of(query)[:2] for query in asked}) == 4, "an id was used twice"
    with pytest.raises(LookupFailedError):
        run(*[unable] * 4)


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(NoSuchNameError):
        run(says(code=3))
    with pytest.raises(NoSuchNameError):
        run(says(wire.alias("example.org", "gone.example.org"), code=3))


def test_what_does_not_fit_in_a_datagram_is_asked_for_over_tcp() -> None:
    found, asked = run(says(flags=wire.USUAL | wire.TRUNCATED), GOOD)
    assert found == FOUND
    assert [(query.server, query.stream) for query in asked] == [("one", False), ("one", True)]
    found, asked = run(*[says(flags=wire.USUAL | wire.TRUNCATED)] * 2, GOOD)
    assert found == FOUND, "a server that always cuts its answers off is as good as none"
    assert [(query.server, query.stream) for query in asked] == [("one", False), ("one", True), ("two", False)]


def test_a_stream_may_be_cut_anywhere() -> None:
    """Two messages come over it, of which the second is the answer."""
    asked = encode_query(MX, 8)
    messages = wire.answer(asked, message_id=99), wire.answer(asked, wire.mx("example.org", 10, "mx.example.org"))
    for pieces in every_cut(b"".join(len(message).to_bytes(2) + message for message in messages)):
        lookup = look_up(MX, ["one"], new_id=count(7).__next__)
        query = lookup.send(reply(next(lookup), flags=wire.USUAL | wire.TRUNCATED))
        assert query.octets == len(asked).to_bytes(2) + asked
        for piece in pieces[:-1]:
            assert lookup.send(piece) is query
        with pytest.raises(StopIteration) as stopped:
            lookup.send(pieces[-1])
        assert stopped.value.value == FOUND


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(lambda query: b"", id="nothing"),
        pytest.param(lambda query: b"\xff" * 50, id="junk"),
        pytest.param(lambda query: message_of(query), id="the query itself"),
        pytest.param(lambda query: reply(query, message_id=9999), id="another id"),
        pytest.param(
            lambda query: reply(query, question=wire.question("other.example", wire.MX)),
            id="another name",
        ),
        pytest.param(
            lambda query: reply(query, question=wire.question("example.org", wire.A)),
            id="another type",
        ),
        pytest.param(
            lambda query: reply(query, question=wire.question("example.org", wire.MX, cls=3)),
            id="another class",
        ),
        pytest.param(lambda query: reply(query, question=b""), id="no question"),
    ],
)
def test_what_does_not_match_in_all_is_no_answer(strange: Server) -> None:
    """RFC 5452 section 9.1."""
    found, asked = run(strange, strange, GOOD)
    assert found == FOUND
    assert len(asked) == 1, "and it is waited for"


def test_who_sends_one_strange_message_after_the_other_is_left() -> None:
    def junk(_: Query) -> bytes:
        return b"junk"

    found, asked = run(*[junk] * 16, GOOD)
    assert found == FOUND
    assert [query.server for query in asked] == ["one", "two"]


def test_aliases_are_followed() -> None:
    records = (
        wire.alias("example.org", "A.example.net"),
        wire.alias("a.EXAMPLE.net", "b.example.net"),
        wire.mx("b.example.net", 5, "mx.b.example.net"),
        wire.mx("somebody.else", 1, "evil.example"),
    )
    assert run(says(*records))[0] == [MailExchange(5, "mx.b.example.net")]
    assert run(says(*reversed(records)))[0] == [MailExchange(5, "mx.b.example.net")]


def test_where_an_answer_ends_with_an_alias_its_name_is_asked_for() -> None:
    found, asked = run(
        says(wire.alias("example.org", "a.example.net")),
        says(wire.alias("a.example.net", "b.example.net")),
        says(wire.mx("b.example.net", 5, "mx.b.example.net")),
    )
    assert found == [MailExchange(5, "mx.b.example.net")]
    assert [message_of(query)[12:-4] for query in asked] == list(
        map(wire.name, ("Example.org", "a.example.net", "b.example.net"))
    )
    assert run(says(wire.alias("example.org", "a.example.net")), says())[0] == []


def test_aliases_that_lead_nowhere_do_not_say_that_there_are_no_records() -> None:
    """RFC 1034 section 3.6.2: circles are an error. Mail for such a domain waits until it is mended."""
    circle = (wire.alias("example.org", "a.example"), wire.alias("a.example", "Example.org"))
    endless = [wire.alias("example.org" if not n else f"{n}.example", f"{n + 1}.example") for n in range(17)]
    nowhere = [
        [says(*circle)],
        [says(each) for each in circle],
        [says(wire.alias("example.org", "example.org"))],
        [says(*endless)],
        [says(each) for each in endless],
        [says(wire.alias("example.org", "."))],
        [says(wire.alias("example.org", "not \xff a host"))],
    ]
    for answers in nowhere:
        with pytest.raises(LookupFailedError):
            run(*answers)


def test_addresses() -> None:
    question = Question("mx.example.org", RecordType.AAAA)
    records = (wire.address("mx.example.org", "2001:db8::1"), wire.address("mx.example.org", "192.0.2.1"))
    assert run(says(*records), question=question)[0] == ["2001:db8::1"]


def test_an_alias_itself() -> None:
    question = Question("example.org", RecordType.CNAME)
    assert run(says(wire.alias("example.org", "a.example")), question=question)[0] == ["a.example"]


def test_what_is_no_name_is_not_asked_for() -> None:
    with pytest.raises(GrammarError):
        run(question=Question("a..b", RecordType.MX))
