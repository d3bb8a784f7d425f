"""Trace fields: what a session writes of itself, UTF-8 in them, and the one Return-Path of final delivery."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp import Hello, Limits, MessageEnd
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.trace import received_field, with_return_path
from tests.helpers import every_cut, talk
from tests.smtp import MAIL, deliver, greeted, server

WHEN = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
DATE = b";\r\n\tMon, 23 Nov 2026 08:30:00 +0000\r\n"


def field(**more: Any) -> bytes:
    return received_field(**{"by": "mx.example", "hello": "x", "peer": "", "protocol": "ESMTP", "when": WHEN, **more})


def test_the_cipher_has_a_clause() -> None:
    """RFC 8314 section 4.3."""
    said = field(protocol="ESMTPS", recipient=Address("a", "b"), cipher="TLS_AES_256_GCM_SHA384")
    assert b"\r\n\tfor <a@b>\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n" in said


def test_utf8_stands_only_where_it_may() -> None:
    """RFC 6531 section 3.7.3: a name that is not ASCII is a claim like any other without SMTPUTF8."""
    assert field(hello="grün.example").startswith(b"Received: from unknown (helo=gr?n.example)\r\n")
    assert field(hello="grün.example", protocol="UTF8SMTPS").startswith("Received: from grün.example\r\n".encode())
    for more in ({"by": "grün.example"}, {"recipient": Address("grün", "x")}):
        assert field(protocol="UTF8SMTP", **more)
        with pytest.raises(GrammarError):
            field(**more)


@pytest.mark.parametrize("peer", ["/run/socket", "unknown", "1.2.3.4)\r\nX: y", "::1%)\r\nX: y"])
def test_a_peer_that_has_no_address_is_left_out(peer: str) -> None:
    said = field(peer=peer)
    assert said.startswith((b"Received: from x\r\n\tby", b"Received: from x ([IPv6:::1])\r\n\tby"))
    assert b"X: y" not in said


@pytest.mark.parametrize("wrong", ["", "SMTP\r\nX: y", "a b", "a;b"])
@pytest.mark.parametrize("where", ["protocol", "cipher", "queue_id"])
def test_no_word_of_ours_makes_a_second_field(wrong: str, where: str) -> None:
    with pytest.raises(GrammarError):
        field(**{where: wrong})


def test_a_session_writes_its_field() -> None:
    conn = server(hostname="mx.example", starttls=True)
    session = SMTPSession(conn, "192.0.2.1", "198.51.100.1")
    assert (
        session.received_field(WHEN)
        == b"Received: from unknown (helo= [192.0.2.1])\r\n\tby mx.example with SMTP" + DATE
    )
    talk(conn, [b"HELO client.example\r\n"])
    assert b"with SMTP;" in session.received_field(WHEN)
    talk(conn, [b"EHLO client.example\r\n", "MAIL FROM:<grün@x> SMTPUTF8\r\n".encode(), b"RCPT TO:<a@b>\r\n"])
    said = session.received_field(WHEN, queue_id="Q1", recipient=Address("ü", "b"))
    expected = "Received: from client.example ([192.0.2.1])\r\n\tby mx.example with UTF8SMTP id Q1\r\n\tfor <ü@b>"
    assert said == expected.encode() + DATE
    conn = server(hostname="mx.example", lmtp=True)
    conn.tls_established()
    session = SMTPSession(conn)
    talk(conn, [b"LHLO x\r\n"])
    assert session.received_field(WHEN) == b"Received: from x\r\n\tby mx.example with LMTPS" + DATE


def test_a_refused_name_is_forgotten_and_so_is_one_in_clear() -> None:
    """RFC 5321 section 4.1.4: the state stays as it was; RFC 3207 section 4.2: TLS begins anew."""
    named: list[str] = []

    def answer(conn: Any, event: Any) -> None:
        named.append(session.hello)
        conn.reject() if isinstance(event, Hello) and event.domain == "refused" else conn.accept()

    conn = server(starttls=True)
    session = SMTPSession(conn)
    talk(conn, [b"EHLO first\r\n", b"EHLO refused\r\n", MAIL], answer)
    assert named == ["", "first", "refused", "first"]
    talk(conn, [b"RSET\r\nSTARTTLS\r\n"], answer)
    conn.tls_established()
    assert session.hello == ""


def test_over_events_a_session_knows_the_client_s_name(front: Any) -> None:
    """As it does with hooks: without it the Received field would say that nobody was named."""
    fields: list[bytes] = []

    def handle(session: Any, event: Any) -> bool:
        if isinstance(event, MessageEnd):
            fields.append(session.received_field(WHEN))
        if session.conn.pending is not None:
            session.accept()
        return False

    with (
        front.SMTPServer(front.handler(handle), port=0) as running,
        front.SMTPClient("127.0.0.1", running.port, local_name="client.example") as session,
    ):
        session.send_message(b"Subject: x\r\n\r\n", "a@b", ["c@d"]).raise_for_refused()
    assert [field[:48] for field in fields] == [b"Received: from client.example ([127.0.0.1])\r\n\tby"]


# Return-Path.

BODY = b"\r\n\r\nReturn-Path: <in@the.body>\r\n"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b"Subject: x", b"Subject: x"),
        (b"Return-Path: <old@x>\r\nSubject: x", b"Subject: x"),
        (b"return-PATH:\r\n <old@x>\r\n\t(folded)\r\nSubject: x", b"Subject: x"),
        (b"Subject: x\r\nReturn-Path: <a@x>\r\nReturn-Path: <b@x>", b"Subject: x"),
        (b"X-Return-Path: <a@x>\r\nSubject: Return-Path: no", b"X-Return-Path: <a@x>\r\nSubject: Return-Path: no"),
        (b"Subject: x\r\n Return-Path: <a@x>", b"Subject: x\r\n Return-Path: <a@x>"),
    ],
)
def test_there_is_one_return_path_however_the_message_is_cut(header: bytes, kept: bytes) -> None:
    for pieces in every_cut(header + BODY):
        kept_as = b"".join(with_return_path(Address("new", "x"), pieces))
        assert kept_as == b"Return-Path: <new@x>\r\n" + kept + BODY


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\nReturn-Path: <b@x>\r\n", b"x", b"Subject: no body\r\n"])
def test_what_has_no_header_or_nothing_else_stays(message: bytes) -> None:
    for pieces in every_cut(message) if message else [[]]:
        assert b"".join(with_return_path(None, pieces)) == b"Return-Path: <>\r\n" + message


def test_a_header_without_an_end_is_passed_on() -> None:
    pieces = [b"Return-Path: <old@x>\r\n", *[b"X: " + b"y" * 70_000 + b"\r\n"] * 40]
    passed = list(with_return_path(None, pieces))
    assert b"".join(passed) == b"Return-Path: <>\r\n" + b"".join(pieces[1:])
    assert max(map(len, passed)) < 2 << 20


# The count of hops, through a server.


@pytest.mark.parametrize("how", ["data", "bdat", "binary"])
@pytest.mark.parametrize(("hops", "fine"), [(99, True), (100, True), (101, False)])
def test_a_loop_ends(hops: int, fine: bool, how: str) -> None:
    """S73: 554 5.4.6 at the end of the message; in the body the same words are words."""
    conn = greeted()
    message = b"Received: x\r\n\tRECEIVED: y\r\n" * (hops - 1) + b"rEcEiVeD:z\r\n\r\n" + b"Received: b\r\n" * 200
    if how == "data":
        result = deliver(conn, message + b".\r\n")
    else:
        wire = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
        for start in range(0, len(message), 777):
            wire += b"BDAT %d\r\n%s" % (len(message[start : start + 777]), message[start : start + 777])
        result = talk(conn, [wire + b"BDAT 0 LAST\r\n"])
    assert bool(result.of(MessageEnd)) is fine
    assert result.output.split(b"\r\n")[-2].startswith(b"250 2.0.0" if fine else b"554 5.4.6")


def test_few_hops_at_every_cut() -> None:
    for hops, fine in ((2, True), (3, False)):
        for pieces in every_cut(b"Received: x\r\n" * hops + b"\r\nReceived: x\r\n.\r\n"):
            conn = greeted(limits=Limits(max_hops=2))
            talk(conn, [b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"])
            assert bool(talk(conn, pieces).of(MessageEnd)) is fine
