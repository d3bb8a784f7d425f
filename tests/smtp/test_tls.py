"""STARTTLS on both sides: nothing said in clear counts behind it, and nothing is said in clear instead of it."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import RemoteProtocolError
from mailproto.smtp import (
    CommandRejected,
    ConnectionClosed,
    ServerState,
    SMTPClientConnection,
    StartTLS,
    TLSInfo,
)
from mailproto.smtp.extensions import AUTH, ETRN, EXPN, STARTTLS
from tests.helpers import Talk, talk
from tests.smtp import EHLO, MAIL, RCPT, client, greeted, in_transaction, say

SETTINGS: dict[str, Any] = {"starttls": True, "auth_mechanisms": ("PLAIN",)}

# S6: commands behind STARTTLS, in clear.


@pytest.mark.parametrize(
    "injected", [b"RSET\r\nMAIL FROM:<evil@x>\r\n", b"M", b"\r\n", b"\n", b"MAIL FROM:<evil", b"\x16\x03\x01"]
)
def test_commands_behind_starttls_are_an_attack(injected: bytes) -> None:
    wire = b"STARTTLS\r\n" + injected
    for first in range(len(b"STARTTLS\r\n") - 1, len(wire) + 1):
        conn = greeted(**SETTINGS)
        result = talk(conn, [piece for piece in (wire[:first], wire[first:]) if piece])
        assert conn.closing
        assert [type(event) for event in result.events] == [StartTLS, ConnectionClosed]
        assert not result.events[-1].clean
        assert result.output in (b"", b"220 2.0.0 Ready to start TLS\r\n")
        conn.tls_established()
        assert conn.tls is None
        assert talk(conn, [EHLO]).events == []


def test_nothing_is_left_of_what_was_said_in_clear() -> None:
    """S67, RFC 3207 section 4.2."""
    conn = greeted(**SETTINGS, allow_plaintext_auth=True)
    talk(conn, [b"AUTH PLAIN AGEAYg==\r\n", b"STARTTLS\r\n"])
    assert conn.authenticated
    conn.tls_established(TLSInfo("TLSv1.3"))
    assert conn.state is ServerState.START
    assert not conn.authenticated
    assert not conn.extended
    assert conn.envelope is None
    assert conn.tls is not None
    result = talk(conn, [MAIL, b"AUTH PLAIN AGEAYg==\r\n", b"STARTTLS\r\n"])
    assert result.replies == [b"503"] * 3, "EHLO first"
    result = talk(conn, [EHLO])
    assert b"STARTTLS" not in result.output
    assert b"AUTH PLAIN" in result.output
    assert talk(conn, [b"STARTTLS\r\n"]).output == b"503 5.5.1 TLS is in use already\r\n"
    assert talk(conn, [MAIL]).replies == [b"250"]


def test_parameters_are_offered_anew() -> None:
    conn = greeted(**SETTINGS)
    talk(conn, [b"STARTTLS\r\n"])
    conn.tls_established()
    assert talk(conn, [b"HELO x\r\n", b"MAIL FROM:<a@b> SIZE=1\r\n"]).replies == [b"250", b"555"]


def test_starttls_has_its_time() -> None:
    assert talk(greeted(), [b"STARTTLS\r\n"]).replies == [b"502"], "without a certificate there is none"
    assert talk(greeted(**SETTINGS), [b"STARTTLS now\r\n"]).replies == [b"501"]
    assert talk(in_transaction(**SETTINGS), [b"STARTTLS\r\n"]).replies == [b"503"]
    for answer in (lambda conn, _: conn.reject(), lambda conn, _: conn.answer_default()):
        conn = greeted(**SETTINGS)
        result = talk(conn, [b"STARTTLS\r\n", MAIL], answer)
        assert result.replies[0] == b"454"
        assert conn.tls is None
        assert not conn.closing, "refused, the session goes on in clear, if the client wants that"


@pytest.mark.parametrize("ending", ["receive_timeout", "shut_down", "close"])
def test_nothing_is_said_in_clear_where_a_handshake_is_due(ending: str) -> None:
    """S9: a handshake that does not come is the end, without a word."""
    conn = greeted(**SETTINGS)
    talk(conn, [b"STARTTLS\r\n"])
    getattr(conn, ending)()
    result = talk(conn, [])
    assert conn.closing
    assert result.output == b""
    assert [event.clean for event in result.of(ConnectionClosed)] == [False]


def test_garbage_instead_of_a_handshake() -> None:
    conn = greeted(**SETTINGS)
    talk(conn, [b"STARTTLS\r\n"])
    result = talk(conn, [b"NOOP\r\n", b"QUIT\r\n"])
    assert result.output == b""
    assert [type(event) for event in result.events] == [ConnectionClosed]


def test_implicit_tls_comes_before_the_greeting() -> None:
    conn = greeted(**SETTINGS)
    with pytest.raises(Exception, match="no TLS handshake is due"):
        conn.tls_established()
    fresh = type(conn)(conn.config)
    fresh.tls_established()
    result = talk(fresh, [EHLO])
    assert result.replies == [b"220", b"250"]
    assert b"AUTH PLAIN" in result.output
    assert b"STARTTLS" not in result.output


# What a server wants TLS for (S14).


def test_mail_may_need_tls_or_a_login() -> None:
    assert talk(greeted(**SETTINGS, require_tls=True), [MAIL]).replies == [b"530"]
    conn = greeted(**SETTINGS, require_tls=True, require_auth=True)
    talk(conn, [b"STARTTLS\r\n"])
    conn.tls_established()
    result = talk(conn, [EHLO, MAIL, b"AUTH PLAIN AGEAYg==\r\n", MAIL])
    assert result.replies == [b"250", b"530", b"235", b"250"]
    assert talk(greeted(**SETTINGS, require_tls=True), [b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n"]).replies == [
        b"250",
        b"250",
        b"221",
    ]


@pytest.mark.parametrize("line", [b"VRFY ada\r\n", b"EXPN list\r\n", b"ETRN example.org\r\n"])
def test_who_may_not_send_mail_may_not_ask_who_there_is_either(line: bytes) -> None:
    """RFC 3207 section 4 and RFC 4954 section 6: all commands that need what is missing get 530."""
    extensions = (STARTTLS, AUTH, ETRN, EXPN)
    result = talk(greeted(**SETTINGS, extensions=extensions, require_tls=True), [line])
    assert result.output == b"530 Must issue a STARTTLS command first\r\n"
    conn = greeted(**SETTINGS, extensions=extensions, require_auth=True)
    talk(conn, [b"STARTTLS\r\n"])
    conn.tls_established()
    result = talk(conn, [EHLO, line, b"AUTH PLAIN AGEAYg==\r\n", line])
    assert result.replies[:3] == [b"250", b"530", b"235"]
    assert result.replies[3] in (b"250", b"252")


def test_where_tls_is_required_nobody_logs_in_before() -> None:
    """Of two settings that contradict each other the safer one counts."""
    conn = greeted(**SETTINGS, require_tls=True, allow_plaintext_auth=True)
    assert "AUTH" not in {text.split(" ")[0] for text in hello_lines(conn)}
    assert talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"]).replies == [b"538"]


@pytest.mark.parametrize(
    "line", [b"AUTH PLAIN\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n", b"AUTH\r\n", b"AUTH XYZZY\r\n"]
)
def test_no_password_is_asked_for_in_clear(line: bytes) -> None:
    conn = greeted(**SETTINGS)
    assert "AUTH" not in {text.split(" ")[0] for text in hello_lines(conn)}
    result = talk(conn, [line])
    assert result.output == b"538 5.7.11 Encryption required for authentication\r\n"
    assert [type(event) for event in result.events] == [CommandRejected]


def hello_lines(conn: Any) -> list[str]:
    output = talk(conn, [EHLO]).output
    return [line[4:].decode() for line in output.split(b"\r\n")[1:-1]]


# The client (S7).


def asked(*keywords: str) -> SMTPClientConnection:
    """Return a client that has asked for TLS."""
    conn = client("PIPELINING", "STARTTLS", "AUTH PLAIN", *keywords)
    conn.starttls()
    assert conn.data_to_send() == b"STARTTLS\r\n"
    return conn


@pytest.mark.parametrize(
    "injected", [b"250-evil\r\n250 AUTH PLAIN\r\n", b"250-half", b"2", b"\r", b"250 x\r\n", b"\x16\x03\x03", b"\n"]
)
def test_replies_behind_220_are_an_attack(injected: bytes) -> None:
    """Not even half a line of them may be there when the handshake begins."""
    wire = b"220 go\r\n" + injected
    for first in range(1, len(wire) + 1):
        conn = asked()
        conn.ehlo("x.example")
        events: list[Any] = []
        failed = False
        for piece in (wire[:first], wire[first:]):
            if not piece:
                continue
            conn.receive_data(piece)
            try:
                while (event := conn.next_event()) is not None:
                    events.append(event)
            except RemoteProtocolError:
                failed = True
        assert failed
        assert conn.closing
        conn.tls_established()
        assert conn.tls is None
        assert conn.data_to_send() == b""
        assert "evil" not in conn.server_name


def test_what_was_offered_in_clear_is_forgotten() -> None:
    conn = asked()
    (reply, start) = say(conn, "220 go")
    assert isinstance(start, StartTLS)
    assert reply.reply.code == 220
    conn.ehlo("x.example")
    assert conn.data_to_send() == b"", "nothing leaves before the handshake"
    conn.tls_established(TLSInfo("TLSv1.3"))
    assert conn.extensions == {}
    assert conn.server_name == ""
    assert conn.auth_mechanisms == ()
    assert conn.data_to_send() == b"EHLO x.example\r\n"
    say(conn, "250-y", "250 SIZE 1")
    assert conn.extensions == {"SIZE": "1"}


@pytest.mark.parametrize("reply", ["454 not now", "501 what", "250 sure", "235 ok", "554 no", "221 bye"])
def test_another_reply_is_no_handshake(reply: str) -> None:
    conn = asked()
    events = say(conn, reply)
    assert [type(event).__name__ for event in events] == ["ReplyReceived"]
    assert conn.tls is None
    conn.noop()
    assert conn.data_to_send() == b"NOOP\r\n", "whether to go on is the caller's policy"


def test_the_end_instead_of_a_handshake() -> None:
    conn = asked()
    say(conn, "220 go")
    conn.receive_eof()
    assert isinstance(conn.next_event(), ConnectionClosed)
    conn.tls_established()
    assert conn.tls is None


def test_a_timeout_in_the_handshake() -> None:
    conn = asked()
    say(conn, "220 go")
    conn.receive_timeout()
    with pytest.raises(Exception, match="in time"):
        conn.next_event()
    assert conn.data_to_send() == b""


def test_a_whole_session_over_tls() -> None:
    """Both machines, and the handshake that both are told of."""
    server_side = greeted(**SETTINGS)
    client_side = client("STARTTLS")
    client_side.starttls()
    result = talk(server_side, [client_side.data_to_send()])
    client_side.receive_data(result.output)
    assert isinstance(client_side.next_event(), object)
    assert isinstance(client_side.next_event(), StartTLS)
    for conn in (server_side, client_side):
        conn.tls_established()
    client_side.ehlo("x.example")
    after: Talk = talk(server_side, [client_side.data_to_send()])
    client_side.receive_data(after.output)
    client_side.next_event()
    assert client_side.auth_mechanisms == ("PLAIN",)
    assert talk(server_side, [MAIL, RCPT]).replies == [b"250", b"250"]
