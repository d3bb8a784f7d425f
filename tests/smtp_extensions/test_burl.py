"""BURL (RFC 4468): a message that the server is to fetch, read and written, and left to the application."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import GrammarError, LocalProtocolError, NotSupportedError
from mailproto.smtp import (
    Burl,
    CommandSkipped,
    MessageAborted,
    MessageEnd,
    Reply,
    ReplyReceived,
    ServerState,
    SMTPServerConfig,
    SMTPServerConnection,
    with_extensions,
)
from mailproto.smtp.extensions import BURL, burl
from mailproto.smtp.extensions.burl import parse_burl
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.transcript import Transcript
from tests.helpers import assert_plays, talk
from tests.smtp import ADA, BOB, MAIL, RCPT, client, say
from tests.smtp.pipes import Driver
from tests.smtp_extensions import lines_sent, offer_of, offering

URL = (
    "imap://harry@gryffindor.example.com/outbox;uidvalidity=1078863300/;uid=25"
    ";urlauth=submit+harry:internal:91354a473744909de610943775f92038"
)

# The first example of section 3.4; the second is the same in one flight.
SUBMISSION = f"""
E: Connected
! accept()
S: 220 owlry.example.com ESMTP
C: EHLO potter.example.com
E: Hello 'potter.example.com' extended
! accept()
S: 250-owlry.example.com
S: 250-8BITMIME
S: 250-PIPELINING
S: 250-BURL
S: 250-AUTH PLAIN
S: 250 ENHANCEDSTATUSCODES
C: AUTH PLAIN aGFycnkAaGFycnkAYWNjaW8=
E: Auth 'PLAIN' b'harry\\x00harry\\x00accio'
! accept("PLAIN authentication successful.")
S: 235 2.7.0 PLAIN authentication successful.
C: EHLO potter.example.com
E: Hello 'potter.example.com' extended
! accept()
S: 250-owlry.example.com
S: 250-8BITMIME
S: 250-PIPELINING
S: 250-BURL imap
S: 250-AUTH PLAIN
S: 250 ENHANCEDSTATUSCODES
C: MAIL FROM:<harry@gryffindor.example.com>
E: Mail harry@gryffindor.example.com
! accept("Address Ok.")
S: 250 2.1.0 Address Ok.
C: RCPT TO:<ron@gryffindor.example.com>
E: Rcpt ron@gryffindor.example.com
! accept("ron@gryffindor.example.com OK.")
S: 250 2.1.5 ron@gryffindor.example.com OK.
C: BURL {URL} LAST
E: Burl '{URL}' last harry@gryffindor.example.com > ron@gryffindor.example.com
! accept("Ok.")
S: 250 2.5.0 Ok.
C: MAIL FROM:<harry@gryffindor.example.com>
C: RCPT TO:<malfoy@slitherin.example.com>
C: BURL {URL} LAST
E: Mail harry@gryffindor.example.com
! accept("Address Ok.")
E: Rcpt malfoy@slitherin.example.com
! reject(550, "Relaying not allowed: malfoy@slitherin.example.com", "5.7.1")
E: CommandRejected 'BURL' 554 5.5.1 No valid recipients
S: 250 2.1.0 Address Ok.
S: 550 5.7.1 Relaying not allowed: malfoy@slitherin.example.com
S: 554 5.5.1 No valid recipients
C: RCPT TO:<ron@gryffindor.example.com>
C: BURL {URL} LAST
E: Rcpt ron@gryffindor.example.com
! accept("ron@gryffindor.example.com OK.")
E: Burl '{URL}' last harry@gryffindor.example.com > ron@gryffindor.example.com
! reject(554, "IMAP URL authorization failed", "5.7.0")
S: 250 2.1.5 ron@gryffindor.example.com OK.
S: 554 5.7.0 IMAP URL authorization failed
C: QUIT
S: 221 2.0.0 Bye
E: ConnectionClosed clean
"""


def config(**settings: Any) -> SMTPServerConfig:
    usual: dict[str, Any] = {"auth_mechanisms": ("PLAIN",), "allow_plaintext_auth": True}
    return with_extensions(SMTPServerConfig(hostname="owlry.example.com", **usual, **settings), BURL)


def logged_in(**settings: Any) -> SMTPServerConnection:
    conn = SMTPServerConnection(config(**settings))
    talk(conn, [b"LHLO x\r\n" if conn.config.lmtp else b"EHLO x\r\n", b"AUTH PLAIN AGEAYg==\r\n", MAIL, RCPT])
    assert conn.authenticated
    return conn


def test_the_examples_of_the_rfc() -> None:
    order = {each.keyword: each for each in config().extensions}
    wanted = [order[word] for word in ("8BITMIME", "PIPELINING", "BURL", "AUTH", "ENHANCEDSTATUSCODES")]
    settings = SMTPServerConfig(
        hostname="owlry.example.com", auth_mechanisms=("PLAIN",), allow_plaintext_auth=True, extensions=tuple(wanted)
    )
    assert_plays(lambda: SMTPServerConnection(settings), SUBMISSION)


def test_the_examples_of_the_rfc_on_the_client() -> None:
    conn = client("8BITMIME", "PIPELINING", "BURL imap", "AUTH PLAIN", "DSN", "ENHANCEDSTATUSCODES")
    conn.mail(ADA)
    conn.rcpt(BOB)
    command = conn.burl(URL)
    next_mail = conn.mail(ADA)
    assert lines_sent(conn)[1:] == ["RCPT TO:<bob@example.org>", f"BURL {URL} LAST"], "MAIL waits (section 3.2)"
    events = say(conn, "250 2.5.0 Address Ok.", "250 2.1.5 OK.", "250 2.5.0 Ok.")
    assert events[-1] == ReplyReceived(command, Reply(250, "Ok.", events[-1].reply.enhanced))
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org>"]
    assert next_mail.reply is None


def test_the_url_is_not_shown() -> None:
    """Section 8: it may be all that it takes to read the mail."""
    transcript, ours = Transcript(), Transcript()
    conn = logged_in()
    conn.trace = transcript
    (event,) = talk(conn, [f"BURL {URL} LAST\r\n".encode()]).of(Burl)
    assert event.url == URL
    assert "91354a" not in f"{event!r} {transcript}"
    assert "C: BURL <secret>" in transcript.lines
    sender = client("BURL imap", "PIPELINING")
    sender.trace = ours
    sender.mail(ADA)
    sender.rcpt(BOB)
    assert "91354a" not in repr(sender.burl(URL))
    assert b"91354a" in sender.data_to_send()
    assert "91354a" not in str(ours)


def test_it_is_off_unless_told() -> None:
    plain = SMTPServerConfig(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    assert not any("BURL" in line for line in offer_of(plain))
    conn = SMTPServerConnection(plain)
    result = talk(conn, [b"EHLO x\r\n", b"AUTH PLAIN AGEAYg==\r\n", MAIL, RCPT, f"BURL {URL} LAST\r\n".encode()])
    assert result.replies[-1] == b"502"
    assert conn.state is ServerState.RCPT


def test_its_sources_are_told_to_whom_it_is_for() -> None:
    """Section 3.1: without arguments before AUTH."""
    both = burl("imap", "imap://imap.example.com")
    assert "BURL" in offer_of(offering(both))
    conn = SMTPServerConnection(with_extensions(config(), both))
    talk(conn, [b"EHLO x\r\n", b"AUTH PLAIN AGEAYg==\r\n"])
    assert b"BURL imap imap://imap.example.com\r\n" in talk(conn, [b"EHLO x\r\n"]).output
    for wrong in ("", "pop", "imap://", "imap://a b", "IMAP\r\n"):
        with pytest.raises(GrammarError):
            burl(wrong)


def test_who_has_not_authenticated_may_not() -> None:
    conn = SMTPServerConnection(config())
    result = talk(conn, [b"EHLO x\r\n", MAIL, RCPT, f"BURL {URL} LAST\r\n".encode()])
    assert result.output.endswith(b"530 5.7.0 Authentication required\r\n")
    assert not result.of(Burl)


@pytest.mark.parametrize(
    ("argument", "parsed"),
    [
        (URL, (URL, False)),
        (f"{URL} LAST", (URL, True)),
        ("imap://a/b last", ("imap://a/b", True)),
        ("http://[::1]/a?b=c%20d LAST", ("http://[::1]/a?b=c%20d", True)),
        ("urn:x:y", ("urn:x:y", False)),
    ],
)
def test_what_is_a_command(argument: str, parsed: tuple[str, bool]) -> None:
    assert parse_burl(argument) == parsed


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "LAST",
        "imap",
        "imap:",
        "/inbox",
        "//host/inbox",
        "imap://a/b#fragment",
        "imap://a/b%",
        "imap://a/b%2",
        "imap://a/b%zz",
        "imap://a/b LATE",
        "imap://a/b  LAST",
        "imap://a/b LAST LAST",
        "imap://a/b LA\u017fT",
        "imap://a/<b>",
        'imap://a/"b"',
        "imap://a/ü",
        "1map://a/b",
        "imap://a/b\\c",
    ],
)
def test_what_is_none(argument: str) -> None:
    with pytest.raises(GrammarError):
        parse_burl(argument)
    conn = logged_in()
    result = talk(conn, [f"BURL {argument}\r\n".encode()])
    assert result.replies == [b"501"]
    assert conn.state is ServerState.RCPT


LAST, MORE = f"BURL {URL} LAST\r\n".encode(), f"BURL {URL}\r\n".encode()


def test_nobody_fetches_anything_by_default() -> None:
    conn = logged_in()
    result = talk(conn, [LAST, b"NOOP\r\n"], lambda conn, _: conn.answer_default())
    assert result.output == b"554 5.6.6 Message content not available\r\n250 2.0.0 OK\r\n"
    assert conn.state is ServerState.READY


def test_pieces_that_are_fetched_and_pieces_that_come() -> None:
    """Section 3.2: in any order, until one of them is the last."""
    conn = logged_in()
    result = talk(conn, [MORE + b"BDAT 3\r\na\r\n" + MORE + b"BDAT 3 LAST\r\nb\r\n"])
    assert [type(event).__name__ for event in result.events] == [
        "Burl",
        "MessageChunk",
        "Burl",
        "MessageChunk",
        "MessageEnd",
    ]
    assert result.replies == [b"250"] * 4
    assert b"250 2.5.0 OK" in result.output
    conn = logged_in()
    result = talk(conn, [b"BDAT 3\r\na\r\n" + LAST + MAIL])
    assert [event.last for event in result.of(Burl)] == [True]
    assert not result.of(MessageEnd)
    assert result.replies == [b"250"] * 3
    assert conn.state is ServerState.MAIL


def test_a_piece_that_cannot_be_had_fails_the_whole() -> None:
    def policy(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, Burl) else conn.accept()

    conn = logged_in()
    result = talk(conn, [b"BDAT 3\r\na\r\n" + MORE + b"BDAT 3 LAST\r\nb\r\n" + LAST + b"NOOP\r\n"], policy)
    assert result.replies == [b"250", b"554", b"503", b"503", b"250"]
    assert len(result.of(MessageAborted)) == 1
    assert not result.of(MessageEnd)
    assert conn.state is ServerState.READY


def test_behind_a_piece_that_was_refused_nobody_is_asked() -> None:
    conn = logged_in(max_message_size=5)
    result = talk(conn, [b"BDAT 9\r\n" + b"x" * 9 + LAST + MAIL])
    assert result.replies == [b"552", b"552", b"250"]
    assert not result.of(Burl)
    assert len(result.of(MessageAborted)) == 1


def test_no_line_end_is_cut_by_what_nobody_here_sees() -> None:
    conn = logged_in()
    result = talk(conn, [b"BDAT 2\r\na\r" + LAST])
    assert result.replies == [b"250", b"554"]
    assert not result.of(Burl)


def test_in_lmtp_each_recipient_has_a_reply() -> None:
    conn = logged_in(lmtp=True)
    result = talk(conn, [RCPT + LAST])
    assert result.replies == [b"250"] * 3
    conn = logged_in(lmtp=True)
    assert talk(conn, [RCPT + LAST], lambda conn, _: conn.answer_default()).replies == [b"550", b"554"]


def test_it_is_counted_as_a_message() -> None:
    conn = logged_in()
    conn.receive_data(LAST)
    conn.next_event()
    conn.accept()
    conn.lose_output()
    assert [each.reply.code for each in conn.replies_lost] == [250]


def test_a_hook_takes_the_message() -> None:
    pieces: list[tuple[str, bytes]] = []

    class Fetcher:
        def on_auth(self, session: SMTPSession, check: Any) -> bool:
            return True

        def on_rcpt(self, session: SMTPSession, rcpt: Any) -> None:
            """Take it."""

        def on_burl(self, session: SMTPSession, event: Burl) -> str:
            pieces.append((event.url, bytes(event.envelope)))
            return "Ok."

    conn = SMTPServerConnection(config())
    driver = Driver(conn, serve(SMTPSession(conn), Fetcher()))
    driver.go()
    driver.go(b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n" + MAIL + RCPT)
    assert driver.go(b"BDAT 3\r\na\r\n" + MORE + LAST).endswith(b"250 2.5.0 Ok.\r\n" * 2)
    assert pieces == [(URL, b""), (URL, b"a\r\n")]


# The client.


def test_a_client_asks_only_where_it_is_offered() -> None:
    conn = client("PIPELINING", "CHUNKING")
    conn.mail(ADA)
    with pytest.raises(LocalProtocolError):
        conn.burl(URL)
    conn.rcpt(BOB)
    with pytest.raises(NotSupportedError):
        conn.burl(URL)
    conn = client("BURL", "CHUNKING")
    with pytest.raises(LocalProtocolError):
        conn.burl(URL)
    conn.mail(ADA)
    conn.rcpt(BOB)
    with pytest.raises(GrammarError):
        conn.burl("inbox")
    conn.bdat(b"x")
    with pytest.raises(LocalProtocolError):
        conn.burl(URL)


@pytest.mark.parametrize("answers", [["550 no"], ["250 ok", "550 no"]])
def test_it_is_not_said_where_it_comes_to_nothing(answers: list[str]) -> None:
    conn = client("BURL imap")
    conn.mail(ADA)
    conn.rcpt(BOB)
    command = conn.burl(URL)
    events: list[object] = []
    for answer in answers:
        conn.data_to_send()
        events += say(conn, answer)
    assert CommandSkipped(command) in events
    assert conn.data_to_send() == b""
