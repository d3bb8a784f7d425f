"""Clients that do not wait: before the greeting, and behind commands that have to be answered first (S63)."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.smtp import ConnectionClosed, Mail, SMTPServerConfig
from tests.adapters.harness import Wire
from tests.helpers import talk
from tests.smtp import MAIL, RCPT, server

EARLY = b"554 You spoke before you were greeted, good-bye\r\n"
AHEAD = b"554 5.5.0 You spoke before you were answered, good-bye\r\n"


def slow(**settings: Any) -> Any:
    return server(greeting_delay=2.5, **settings)


# Before the greeting.


@pytest.mark.parametrize("said", [b"E", b"EHLO x\r\n", b"\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"])
def test_who_speaks_before_the_greeting_is_refused(said: bytes) -> None:
    conn = slow()
    assert conn.next_event() is None
    assert conn.timeout == 2.5
    conn.receive_data(said)
    assert conn.next_event() == ConnectionClosed(False, "spoke too early")
    assert conn.data_to_send() == EARLY
    assert conn.closing


def test_who_waits_is_greeted() -> None:
    conn = slow()
    assert conn.next_event() is None
    conn.receive_timeout()
    assert talk(conn, [b"EHLO x\r\n", MAIL]).replies == [b"220", b"250", b"250"]
    assert conn.timeout == conn.limits.command_timeout
    conn.receive_timeout()
    assert talk(conn, []).lines == ["ConnectionClosed 'timed out'"]


def test_without_a_delay_nobody_is_early() -> None:
    conn = server()
    conn.receive_data(b"EHLO x\r\n")
    assert talk(conn, []).replies == [b"220", b"250"]


def test_who_leaves_before_the_greeting_has_left() -> None:
    conn = slow()
    conn.next_event()
    conn.receive_eof()
    assert isinstance(conn.next_event(), ConnectionClosed)
    assert conn.data_to_send() == b""
    conn = slow()
    conn.next_event()
    conn.shut_down()
    assert talk(conn, []).replies == [b"421"]
    assert conn.closing


def test_a_balancer_is_not_early_but_its_client_may_be() -> None:
    header = b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\r\n"
    for behind, replies in ((b"EHLO x\r\n", [b"554"]), (b"", [])):
        conn = slow()
        conn.expect_proxy_header()
        assert conn.timeout == conn.limits.proxy_timeout
        conn.receive_data(header + behind)
        assert conn.next_event() is None
        assert conn.timeout == 2.5
        assert talk(conn, []).replies == replies
    conn = slow()
    conn.expect_proxy_header()
    conn.receive_timeout()
    assert conn.closing, "it is the header that is late"


class Taking:
    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        return None


def test_over_real_sockets(front: Any) -> None:
    """Who speaks has long to be early in, on a busy machine, too; who waits has not long to wait."""
    with (
        front.SMTPServer(Taking(), port=0, config=SMTPServerConfig(greeting_delay=30)) as running,
        Wire.to(running.port) as wire,
    ):
        wire.send(b"EHLO x\r\n")
        assert wire.rest() == EARLY
    with (
        front.SMTPServer(Taking(), port=0, config=SMTPServerConfig(greeting_delay=0.3)) as running,
        Wire.to(running.port) as wire,
    ):
        assert wire.line().startswith(b"220 ")
        wire.send(b"EHLO x\r\n")
        assert wire.line().startswith(b"250-")


# Behind a command.


def strict(**settings: Any) -> Any:
    conn = server(forbid_illegal_pipelining=True, allow_plaintext_auth=True, auth_mechanisms=("PLAIN",), **settings)
    talk(conn, [])
    return conn


@pytest.mark.parametrize(
    ("before", "burst"),
    [
        ([], b"EHLO x\r\nMAIL FROM:<a@b>\r\n"),
        ([], b"HELO x\r\nM"),
        ([b"EHLO x\r\n"], b"AUTH PLAIN\r\nAGEAYg==\r\n"),
        ([b"EHLO x\r\n"], b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b>\r\n"),
        ([b"EHLO x\r\n", MAIL, RCPT], b"DATA\r\nSubject: x\r\n\r\n.\r\n"),
        ([b"EHLO x\r\n"], b"EHLO y\r\nNOOP\r\n"),
        ([b"HELO x\r\n"], b"NOOP\r\nNOOP\r\n"),
        ([b"HELO x\r\n"], MAIL + RCPT),
        ([b"HELO x\r\n"], b"VRFY x\r\n\r\n"),
    ],
)
def test_who_does_not_wait_is_hung_up_on(before: list[bytes], burst: bytes) -> None:
    conn = strict()
    talk(conn, before)
    result = talk(conn, [burst])
    assert result.output == AHEAD
    assert conn.closing
    assert not result.of(Mail)
    conn = server()
    talk(conn, before)
    assert talk(conn, [burst]).output != AHEAD, "off by default"


@pytest.mark.parametrize(
    "burst",
    [
        MAIL + RCPT + RCPT + b"DATA\r\n",
        MAIL + RCPT + b"BDAT 5 LAST\r\nEHLO\n" + MAIL + RCPT,
        b"RSET\r\n" + MAIL + RCPT + b"NOOP\r\nQUIT\r\n",
        b"QUIT\r\n",
    ],
)
def test_what_pipelining_allows_is_no_fault(burst: bytes) -> None:
    conn = strict()
    talk(conn, [b"EHLO x\r\n"])
    assert AHEAD not in talk(conn, [burst]).output


def test_without_pipelining_chunks_have_their_octets() -> None:
    conn = strict(extensions=tuple(e for e in SMTPServerConfig().extensions if e.keyword == "CHUNKING"))
    talk(conn, [b"EHLO x\r\n"])
    for line in (MAIL, RCPT, b"BDAT 3 LAST\r\nx\r\n"):
        assert talk(conn, [line]).replies == [b"250"]
    assert talk(conn, [MAIL + RCPT]).output.startswith(b"554 ")


def test_one_line_after_the_other_is_waiting() -> None:
    conn = strict()
    lines = [b"EHLO x\r\n", b"AUTH PLAIN\r\n", b"AGEAYg==\r\n", MAIL, RCPT, b"DATA\r\n", b"x\r\n.\r\n"]
    for line, reply in zip(lines, (b"250", b"334", b"235", b"250", b"250", b"354", b"250"), strict=True):

        def answer(conn: Any, event: object) -> None:
            if type(event).__name__ == "Auth" and getattr(event, "initial_response", b"") is None:
                conn.challenge(b"")
            else:
                conn.accept()

        assert talk(conn, [line], answer).replies == [reply]
