"""The order of commands: what the machine does in every state with every command is what the table says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailproto.smtp import AuthResponse, CommandRejected, ServerState, SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.extensions import BURL, DEFAULT_EXTENSIONS, ETRN, EXPN, XCLIENT, XFORWARD, Extension
from mailproto.smtp.rules import JUNK, LMTP_VERBS, OTHER, RULES, RULES_TABLE, SMTP_VERBS, VERBS, Outcome, read_rules
from tests.helpers import Talk, talk
from tests.smtp import MAIL, RCPT

LINES = {
    "EHLO": b"EHLO x.example",
    "HELO": b"HELO x.example",
    "LHLO": b"LHLO x.example",
    "AUTH": b"AUTH PLAIN",
    "MAIL": b"MAIL FROM:<x@example.org>",
    "RCPT": b"RCPT TO:<y@example.org>",
    "BDAT": b"BDAT 1\r\nz",
    "BURL": b"BURL imap://x",
    "VRFY": b"VRFY x",
    "EXPN": b"EXPN x",
    "ETRN": b"ETRN x",
    "XCLIENT": b"XCLIENT NAME=x",
    "XFORWARD": b"XFORWARD NAME=x",
}
"""A line of each command that is not the verb alone, with nothing wrong about it."""
OWN = Extension("X-OWN", "ours", lambda _: "", commands=("XOWN",))


def connection(lmtp: bool = False) -> SMTPServerConnection:
    config = SMTPServerConfig(
        starttls=True,
        auth_mechanisms=("PLAIN",),
        allow_plaintext_auth=True,
        extensions=(*DEFAULT_EXTENSIONS, BURL, EXPN, ETRN, XCLIENT, XFORWARD, OWN),
        lmtp=lmtp,
    )
    conn = SMTPServerConnection(config)
    conn.trusted = True
    return conn


def bring_to(state: ServerState, lmtp: bool = False) -> SMTPServerConnection:
    """Return a connection in this state, its output taken."""
    conn = connection(lmtp)
    if state is ServerState.REFUSED:
        talk(conn, [], lambda conn, _: conn.reject())
        return conn
    hello = b"LHLO x\r\n" if lmtp else b"EHLO x\r\n"
    steps = {
        ServerState.START: [],
        ServerState.READY: [hello],
        ServerState.MAIL: [hello, MAIL],
        ServerState.RCPT: [hello, MAIL, RCPT],
        ServerState.CHUNKS: [hello, MAIL, RCPT, b"BDAT 1\r\nz"],
    }
    talk(conn, steps[state])
    assert conn.state is state
    return conn


COLUMNS = (
    ServerState.START,
    ServerState.READY,
    ServerState.MAIL,
    ServerState.RCPT,
    ServerState.CHUNKS,
    ServerState.REFUSED,
)


def test_the_table_has_every_pair() -> None:
    assert set(RULES) == {(state, verb) for state in COLUMNS for verb in VERBS | {OTHER}}
    assert read_rules(RULES_TABLE) == RULES
    assert SMTP_VERBS | LMTP_VERBS == VERBS
    assert JUNK < VERBS


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_no_client_can_say_the_word_for_the_commands_of_ones_own(case: Callable[[str], str]) -> None:
    conn = bring_to(ServerState.READY)
    assert talk(conn, [case(OTHER).encode() + b"\r\n"]).output == b"500 5.5.1 Command not recognised\r\n"


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("verb", [*sorted(VERBS), *OWN.commands])
@pytest.mark.parametrize("state", COLUMNS)
def test_the_machine_does_what_the_table_says(state: ServerState, verb: str, lmtp: bool) -> None:
    conn = bring_to(state, lmtp)
    if verb in VERBS - conn._verbs:
        assert say(conn, verb).output == b"500 5.5.1 Command not recognised\r\n"
        return
    outcome = RULES[state, OTHER if verb in OWN.commands else verb]
    conn.authenticated = verb == "BURL"
    result = say(conn, verb)
    if outcome is Outcome.ASK:
        assert conn.pending is not None
        assert result.output == b""
        assert not result.of(CommandRejected)
    elif outcome is Outcome.OWN:
        assert conn.pending is None
        assert result.output[:1] == b"2"
        assert not result.of(CommandRejected)
    else:
        code = b"503" if lmtp else outcome.value.encode()
        assert conn.pending is None
        assert result.output[:3] == code
        assert [event.verb for event in result.of(CommandRejected)] == [verb]
        assert conn.state is state, "an error leaves the state as it was"


def say(conn: SMTPServerConnection, verb: str) -> Talk:
    """Say one command in either case of letters, and answer nothing."""
    line = LINES.get(verb, verb.encode())
    mixed = line[:1].lower() + line[1:]
    conn.receive_data(mixed if verb == "BDAT" else mixed + b"\r\n")
    event = conn.next_event()
    return Talk([event] if event is not None else [], conn.data_to_send())


@pytest.mark.parametrize("verb", [*sorted(SMTP_VERBS - {"BDAT"}), *OWN.commands])
def test_the_other_states_look_at_no_commands(verb: str) -> None:
    line = LINES.get(verb, verb.encode()) + b"\r\n"

    conn = connection()
    conn.receive_data(line)
    assert type(conn.next_event()).__name__ == "Connected", "nothing is read before the greeting"
    assert conn.data_to_send() == b""

    conn = bring_to(ServerState.READY)
    talk(conn, [b"AUTH PLAIN\r\n"], lambda conn, _: conn.challenge(b""))
    assert conn.state is ServerState.AUTH
    result = talk(conn, [line])
    assert [type(event) for event in result.events] in ([CommandRejected], [AuthResponse])

    conn = bring_to(ServerState.RCPT)
    talk(conn, [b"DATA\r\n"])
    assert conn.state is ServerState.DATA
    result = talk(conn, [line])
    assert result.body == line[:-2], "of which no part is a command"
    assert result.output == b""

    conn = bring_to(ServerState.READY)
    talk(conn, [b"QUIT\r\n"])
    assert conn.state is ServerState.CLOSED
    result = talk(conn, [line])
    assert result.events == []
    assert result.output == b""
