"""Queries and responses, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.dns import (
    MailExchange,
    Question,
    Record,
    RecordType,
    ServiceLocation,
    encode_query,
    parse_response,
)
from mailproto.errors import GrammarError
from tests.dns import wire
from tests.helpers import PROPERTY

QUESTION = Question("example.org", RecordType.MX)
QUERY = encode_query(QUESTION, 0x1234)
FULL = wire.answer(
    QUERY,
    wire.alias("example.org", "mail.example.org"),
    wire.mx(b"\xc0\x0c", 10, b"\x02mx\xc0\x0c"),
    wire.record("example.org", wire.SOA, b"whatever"),
    wire.record("example.org", wire.MX, b"of another class", cls=3),
    wire.address("mx.example.org", "192.0.2.1"),
    wire.address("mx.example.org", "2001:db8::1"),
    wire.srv("_pop3s._tcp.example.org", 1, 2, 995, "pop.example.org"),
    wire.srv("_pop3._tcp.example.org", 0, 0, 0, ""),
    wire.txt("_mta-sts.example.org", b"v=STSv1; ", b"", b"id=\xff;"),
)


def test_a_query() -> None:
    assert QUERY == (
        b"\x12\x34"  # the id
        b"\x01\x00"  # a standard query; please find out
        b"\x00\x01\x00\x00\x00\x00\x00\x00"  # one question and nothing else
        b"\x07example\x03org\x00\x00\x0f\x00\x01"
    )


def test_a_response() -> None:
    response = parse_response(FULL)
    assert (response.id, response.question, response.code) == (0x1234, QUESTION, 0)
    assert (response.truncated, response.final) == (False, True)
    assert response.records == (
        Record("example.org", RecordType.CNAME, "mail.example.org"),
        Record("example.org", RecordType.MX, MailExchange(10, "mx.example.org")),
        Record("mx.example.org", RecordType.A, "192.0.2.1"),
        Record("mx.example.org", RecordType.AAAA, "2001:db8::1"),
        Record("_pop3s._tcp.example.org", RecordType.SRV, ServiceLocation(1, 2, 995, "pop.example.org")),
        Record("_pop3._tcp.example.org", RecordType.SRV, ServiceLocation(0, 0, 0, ".")),
        Record("_mta-sts.example.org", RecordType.TXT, b"v=STSv1; id=\xff;"),
    )


@pytest.mark.parametrize("size", range(len(FULL)))
def test_a_response_that_is_cut_off_is_none(size: int) -> None:
    with pytest.raises(GrammarError):
        parse_response(FULL[:size])


def test_what_stands_behind_the_answer_is_not_read() -> None:
    assert parse_response(FULL + b"\xff" * 40) == parse_response(FULL)


def test_a_truncated_response_has_no_records() -> None:
    cut = wire.answer(QUERY, b"half of a record", flags=wire.USUAL | wire.TRUNCATED)
    response = parse_response(cut)
    assert response.truncated
    assert response.records == ()


@pytest.mark.parametrize(
    ("flags", "final"),
    [
        (wire.RESPONSE, False),
        (wire.RESPONSE | wire.AUTHORITATIVE, True),
        (wire.RESPONSE | wire.AVAILABLE, True),
    ],
)
def test_who_speaks_for_the_name(flags: int, final: bool) -> None:
    assert parse_response(wire.answer(QUERY, flags=flags)).final is final


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(QUERY, id="a query"),
        pytest.param(wire.answer(QUERY, flags=wire.USUAL | 0x0800), id="to another operation"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.A, b"123")), id="an address of three octets"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.AAAA, b"1234")), id="an address of four"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.MX, b"\0")), id="half a preference"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.MX, b"\0\0\1a\0z")), id="more than a host"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.SRV, b"\0\0\0\0\0")), id="half a service"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.SRV, b"\0\0\0\0\0\0\1a\0z")), id="more than a target"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.TXT, b"\3ab")), id="half a string"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.SOA, b"1234"))[:-1], id="any record cut off"),
        pytest.param(wire.answer(QUERY, wire.record("x", wire.CNAME, b"\1a")), id="a name beyond its record"),
        pytest.param(QUERY[:2] + b"\x81\x80\0\2" + bytes(6) + QUERY[12:] * 2, id="two questions"),
        pytest.param(wire.answer(QUERY, *[wire.mx("x", 1, "y")] * 1001), id="more records than anybody has"),
    ],
)
def test_what_is_no_response(message: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_response(message)


@pytest.mark.parametrize(
    "question", [b"", wire.question("example.org", 99), wire.question("example.org", wire.MX, cls=3)]
)
def test_a_question_that_was_not_asked(question: bytes) -> None:
    assert parse_response(wire.answer(QUERY, question=question)).question is None


@PROPERTY
@given(st.binary(max_size=120), st.integers(0, len(FULL)))
def test_no_octets_raise_anything_else(junk: bytes, start: int) -> None:
    for message in (junk, FULL[:start] + junk, FULL[:start] + junk + FULL[start + len(junk) :]):
        try:
            parse_response(message)
        except GrammarError:
            continue
