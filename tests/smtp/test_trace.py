"""Received and Return-Path: true as far as we know, with nothing in them that a peer has put there (S51, S73)."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp import Limits, MessageEnd
from mailproto.smtp.trace import HopCounter, received_field, return_path_field, with_protocol
from tests.helpers import PROPERTY, every_cut, talk
from tests.smtp import deliver, greeted, in_data

WHEN = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)


def received(hello: str = "client.example", peer: str = "192.0.2.1", **more: Any) -> str:
    return received_field(
        by="mx.example.org",
        hello=hello,
        peer=peer,
        protocol="ESMTPS",
        when=WHEN,
        **more,
    ).decode("ascii")


def test_the_whole_field() -> None:
    """RFC 5321 section 4.4."""
    assert received(queue_id="4711", recipient=Address("ada", "example.org")) == (
        "Received: from client.example ([192.0.2.1])\r\n"
        "\tby mx.example.org with ESMTPS id 4711\r\n"
        "\tfor <ada@example.org>;\r\n"
        "\tMon, 23 Nov 2026 08:30:00 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("hello", "peer", "clause"),
    [
        ("[192.0.2.9]", "2001:db8::1", "from [192.0.2.9] ([IPv6:2001:db8::1])"),
        ("client.example", "", "from client.example"),
        ("x) by (y", "192.0.2.1", "from unknown (helo=x? by ?y [192.0.2.1])"),
        ("a\r\nX-Inj: 1", "192.0.2.1", "from unknown (helo=a??X-Inj: 1 [192.0.2.1])"),
        ("a\\b", "192.0.2.1", "from unknown (helo=a?b [192.0.2.1])"),
        ("a\x00\x1b[2Jb", "192.0.2.1", "from unknown (helo=a??[2Jb [192.0.2.1])"),
        ("grü_n", "192.0.2.1", "from unknown (helo=gr?_n [192.0.2.1])"),
        ("x" * 1000 + "_", "", "from unknown (helo=" + "x" * 100 + ")"),
    ],
)
def test_what_a_client_calls_itself_is_a_claim(hello: str, peer: str, clause: str) -> None:
    field = received(hello, peer)
    assert field.split("\r\n")[0] == f"Received: {clause}"
    parsed = message_from_bytes(field.encode() + b"\r\nbody", policy=policy.default)
    assert parsed.keys() == ["Received"]


@PROPERTY
@given(st.text(st.sampled_from(list(map(chr, range(0x250)))), max_size=40))
def test_no_name_makes_a_second_field(hello: str) -> None:
    try:
        field = received(hello)
    except UnicodeDecodeError:
        return  # a domain of RFC 6531 is a name, as it is
    lines = field.split("\r\n")
    assert lines.pop() == ""
    assert all(line[:1] == "\t" for line in lines[1:])
    assert not any(c < " " and c != "\t" for line in lines for c in line)
    assert field.count("(") == field.count(")")


@pytest.mark.parametrize(
    "wrong", [{"queue_id": "x y"}, {"queue_id": "a\r\nb"}, {"queue_id": ""}, {"queue_id": "(x)"}]
)
def test_what_is_ours_is_checked_as_well(wrong: dict[str, str]) -> None:
    with pytest.raises(GrammarError):
        received(**wrong)
    with pytest.raises(GrammarError):
        received_field(by="x\r\ny", hello="x", peer="", protocol="SMTP", when=WHEN)
    with pytest.raises(GrammarError, match="zone"):
        received_field(by="x", hello="x", peer="", protocol="SMTP", when=datetime(2026, 1, 1))


def test_return_path() -> None:
    assert return_path_field(None) == b"Return-Path: <>\r\n"
    assert return_path_field(Address("a b", "x")) == b'Return-Path: <"a b"@x>\r\n'


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "lmtp", "utf8", "name"),
    [
        (False, False, False, False, False, "SMTP"),
        (False, True, False, False, False, "SMTP"),
        (True, False, False, False, False, "ESMTP"),
        (True, True, False, False, False, "ESMTPS"),
        (True, False, True, False, False, "ESMTPA"),
        (True, True, True, False, False, "ESMTPSA"),
        (True, True, True, False, True, "UTF8SMTPSA"),
        (True, False, False, False, True, "UTF8SMTP"),
        (True, False, False, True, False, "LMTP"),
        (True, True, True, True, False, "LMTPSA"),
        (True, True, False, True, True, "UTF8LMTPS"),
    ],
)
def test_protocol_names(extended: bool, tls: bool, authenticated: bool, lmtp: bool, utf8: bool, name: str) -> None:
    """RFC 3848 and RFC 6531 section 4.3."""
    assert with_protocol(extended=extended, tls=tls, authenticated=authenticated, lmtp=lmtp, utf8=utf8) == name


# Loops.

HOP = b"Received: from a by b\r\n\tfolded; Received: not\r\n"


@pytest.mark.parametrize(("hops", "fine"), [(2, True), (3, True), (4, False)])
def test_hops_are_counted_in_the_header_however_it_is_cut(hops: int, fine: bool) -> None:
    """RFC 5321 section 6.3; and what looks like one further down is text."""
    header = b"X-Received: no\r\n" + HOP * (hops - 1) + b"received: in lower case\r\nSubject: x\r\n"
    wire = header + b"\r\n" + HOP * 5 + b".\r\nNOOP\r\n"
    for pieces in every_cut(wire) if hops > 2 else ([wire],):
        result = talk(in_data(limits=Limits(max_hops=3)), pieces)
        assert result.replies == [b"250" if fine else b"554", b"250"]
        assert len(result.of(MessageEnd)) == fine


@pytest.mark.parametrize(("hops", "fine"), [(3, True), (4, False)])
def test_hops_in_obsolete_syntax_are_hops(hops: int, fine: bool) -> None:
    """RFC 5322 section 4.5.8 has spaces before the colon, as many as they like; a longer name is another field."""
    header = b"Received \t : x\r\nReceived-SPF: no\r\nReceived by: no\r\nReceived: x\r\n"
    header += b"Received : x\r\n" * (hops - 2)
    for pieces in every_cut(header + b"Subject: x\r\n\r\nReceived : text\r\n.\r\nNOOP\r\n"):
        result = talk(in_data(limits=Limits(max_hops=3)), pieces)
        assert result.replies == [b"250" if fine else b"554", b"250"]


def test_the_default_is_generous() -> None:
    """RFC 5321 section 6.3: at least 100."""
    for count, code in ((100, b"250"), (101, b"554")):
        assert deliver(greeted(), b"Received: x\r\n" * count + b"\r\n.\r\n").replies[-1] == code
    assert b"5.4.6" in deliver(greeted(), b"Received: x\r\n" * 101 + b"\r\n.\r\n").output


def test_a_message_may_begin_with_its_body() -> None:
    assert deliver(greeted(limits=Limits(max_hops=0)), b"\r\nReceived: x\r\n.\r\n").replies[-1] == b"250"
    assert deliver(greeted(limits=Limits(max_hops=0)), b"Received: x\r\n.\r\n").replies[-1] == b"554"


def test_a_header_of_any_length_is_one_pass() -> None:
    counter = HopCounter(10)
    for _ in range(1000):
        assert counter.feed(b"X: " + b"y" * 1000 + b"\r\n") is None
    assert counter.hops == 0
    assert counter.feed(b"Received: x\r\n") is None
    assert counter.hops == 1
