"""What a server does not put up with, with every cut; and what it shows of a dialogue, without the secrets."""

from __future__ import annotations

import pytest

from mailproto.pop3 import (
    Apop,
    Auth,
    AuthResponse,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Limits,
    Login,
    MessageInfo,
    POP3ServerConfig,
    POP3ServerConnection,
)
from tests.pop3.harness import Application, Played, Refused, every_server_cut

LOGIN = b"USER ada\r\nPASS secret\r\n"
MAIL = (b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n")


def config(**limits: int) -> POP3ServerConfig:
    return POP3ServerConfig(
        allow_plaintext_auth=True,
        auth_mechanisms=("PLAIN",),
        limits=Limits(**limits),
    )


def play(commands: bytes, words: dict[type, list[object]] | None = None, **limits: int) -> Played:
    application = Application(MAIL, words=words or {})
    return every_server_cut(lambda: POP3ServerConnection(config(**limits)), [commands], application)


# Lines.


@pytest.mark.parametrize("excess", [0, 1, 2, 3, 40])
def test_an_over_long_line_is_refused_and_skipped_to_its_end(excess: int) -> None:
    """SECURITY S5 and S24: its tail is no command."""
    line = b"XYZZY " + b"x" * (64 - 6 - 2 - 4 + excess) + b"QUIT"
    played = play(line + b"\r\nCAPA\r\n", max_line=64)
    refused = b"-ERR Command not recognised" if excess == 0 else b"-ERR Line too long"
    assert played.output.split(b"\r\n")[1:3] == [refused, b"+OK Capability list follows"]
    assert [type(event) for event in played.events] == [Connected, CommandRejected, ConnectionClosed]


def test_an_endless_line_takes_no_memory() -> None:
    conn = POP3ServerConnection(config())
    conn.next_event()
    conn.accept()
    for _ in range(1000):
        conn.receive_data(b"x" * 65536)
        while conn.next_event() is not None:
            pass
        assert len(conn._buffer) <= 1
    conn.receive_data(b"\r\nQUIT\r\n")
    assert conn.next_event() == ConnectionClosed(True)


def test_255_octets_are_a_command() -> None:
    """RFC 2449 section 4."""
    played = play(b"USER a\r\nPASS " + b"x" * 248 + b"\r\n")
    assert Login("a", "x" * 248) in played.events


# Counts.


def test_too_many_errors_end_the_session() -> None:
    played = play(b"X\r\n" * 7, max_errors=5)
    assert played.output.split(b"\r\n")[1:-1] == [b"-ERR Command not recognised"] * 4 + [
        b"-ERR Too many errors, good-bye"
    ]
    assert played.events[-1] == ConnectionClosed(False, "Too many errors, good-bye")


@pytest.mark.parametrize(
    "line", [b"LIST x", b"\xff", b"USER a b", b"PASS x", b"AUTH NONE", b"AUTH PLAIN x", b"STLS", b""]
)
def test_all_kinds_of_errors_count(line: bytes) -> None:
    played = play((line + b"\r\n") * 3, max_errors=3)
    assert played.events[-1] == ConnectionClosed(False, "Too many errors, good-bye")


@pytest.mark.parametrize(
    "line", [b"NOOP", b"RSET", b"CAPA", b"STAT", b"LIST", b"UIDL", b"RETR 9", b"DELE 9", b"LIST 9"]
)
def test_too_much_that_leads_nowhere_ends_the_session(line: bytes) -> None:
    played = play(LOGIN + (line + b"\r\n") * 5, max_junk=3)
    assert played.output.endswith(b"-ERR Too many commands, good-bye\r\n")
    assert played.events[-1] == ConnectionClosed(False, "Too many commands, good-bye")


@pytest.mark.parametrize("line", [b"CAPA", b"USER a", b"AUTH"])
def test_so_it_does_before_login(line: bytes) -> None:
    assert play((line + b"\r\n") * 5, max_junk=3).events[-1] == ConnectionClosed(False, "Too many commands, good-bye")


@pytest.mark.parametrize("line", [b"RETR 1", b"TOP 1 0", b"DELE 1"])
def test_what_leads_somewhere_makes_good_for_it(line: bytes) -> None:
    played = play(LOGIN + (b"NOOP\r\n" * 3 + line + b"\r\nRSET\r\n") * 4, max_junk=4)
    assert played.events[-1] == ConnectionClosed(True)


def test_commands_are_counted_but_each_message_is_good_for_four() -> None:
    commands = b"LIST 1\r\nUIDL 1\r\nRETR 1\r\nDELE 1\r\nLIST 2\r\nUIDL 2\r\nRETR 2\r\nDELE 2\r\n"
    assert play(LOGIN + commands + b"QUIT\r\n", max_commands=3).events[-1] == ConnectionClosed(True)
    played = play(LOGIN + commands + b"NOOP\r\nQUIT\r\n", max_commands=3)
    assert played.events[-1] == ConnectionClosed(False, "Too many commands, good-bye")


def test_a_client_that_does_not_read_is_not_listened_to() -> None:
    """SECURITY S30."""
    conn = POP3ServerConnection(config(max_unsent=1000, max_junk=10**6))
    conn.next_event()
    conn.accept()
    conn.receive_data(LOGIN)
    conn.next_event()
    conn.accept(maildrop=[])
    conn.receive_data(b"NOOP\r\n" * 1000)
    assert conn.next_event() is None
    assert conn.output_full
    assert 1000 < conn.queued < 1100
    while conn.output_full:
        conn.data_to_send()
        assert conn.next_event() is None
    conn.receive_data(b"STAT\r\n")
    assert conn.next_event() is None
    assert conn.data_to_send().endswith(b"+OK 0 0\r\n")


def test_a_hundred_thousand_messages_are_listed() -> None:
    conn = POP3ServerConnection(config())
    conn.next_event()
    conn.accept()
    conn.receive_data(LOGIN)
    conn.next_event()
    conn.accept(maildrop=[MessageInfo(1, f"u{number}") for number in range(100_000)])
    conn.data_to_send()
    conn.receive_data(b"UIDL\r\n")
    assert conn.next_event() is None
    assert conn.data_to_send().endswith(b"\r\n100000 u99999\r\n.\r\n")


# The trace (SECURITY S23).

SECRETS = ["hunter2", "AGFkYQBodW50ZXIy", "YWRhIGh1bnRlcjI=", "c4c9334bac560ecc979e58001b3e22fb", "6162633132333435"]
TIMESTAMP = "<1@example.org>"
LEAKS = [
    b"USER ada\r\nPASS hunter2\r\n",
    b"PASS hunter2\r\n",
    b"USER ada hunter2\r\n",
    b"USER ada\r\nPASS hunter2 \xff\r\n",
    b"USER ada\r\nPASSS hunter2\r\n",
    b"hunter2\r\n",
    b"PASS:hunter2\r\n",
    b"PASS\thunter2\r\n",
    b"APOP ada c4c9334bac560ecc979e58001b3e22fb\r\n",
    b"APOP c4c9334bac560ecc979e58001b3e22fb\r\n",
    b"APOP ada c4c9334bac560ecc979e58001b3e22fb x\r\n",
    b"AUTH PLAIN AGFkYQBodW50ZXIy\r\n",
    b"AUTH AGFkYQBodW50ZXIy\r\n",
    b"AUTH PLAIN\r\nAGFkYQBodW50ZXIy\r\n",
    b"AUTH PLAIN\r\nAGFkYQBodW50ZXIy!\r\n",
    b"AUTH NONE\r\nAGFkYQBodW50ZXIy\r\n",
    b"AUTH PLAIN\r\n" + b"hunter2" * 3000 + b"\r\n",
    b"AUTH NONE AGFkYQBodW50ZXIy\r\n",
]


@pytest.mark.parametrize("line", LEAKS, ids=lambda line: ascii(line[:24]))
def test_no_secret_is_traced_or_shown(line: bytes) -> None:
    conn = POP3ServerConnection(config(), TIMESTAMP)
    lines: list[str] = []
    conn.trace = lambda who, what: lines.append(f"{who}: {what.decode('ascii', 'backslashreplace')}")
    shown = []
    conn.receive_data(line + b"QUIT\r\n")
    while (event := conn.next_event()) is not None:
        shown.append(repr(event))
        if isinstance(event, Auth) and event.initial_response is None:
            conn.challenge(b"hunter2")
        elif isinstance(event, Login | Auth | AuthResponse | Apop):
            conn.reject()
        elif conn.pending is not None:
            conn.accept()
        shown.append(repr(conn.data_to_send()))
    seen = "\n".join([*lines, *shown, repr(conn)])
    seen = seen.replace("+ aHVudGVyMg==", "")  # the challenge itself, in the output
    assert not [secret for secret in [*SECRETS, "aHVudGVyMg=="] if secret in seen]
    assert lines[0].startswith("S: +OK POP3")
    assert any(line.startswith("C: ") for line in lines)


def test_a_trace_tells_who_said_what() -> None:
    conn = POP3ServerConnection(config())
    lines: list[tuple[str, bytes]] = []
    conn.trace = lambda who, what: lines.append((who, what))
    application = Application(MAIL, words={AuthResponse: [Refused()], Auth: [b""]})
    conn.receive_data(b"AUTH PLAIN\r\nAGFkYQBi\r\n" + LOGIN + b"LIST\r\nRETR 1\r\nXYZ\r\nQUIT\r\n")
    while (event := conn.next_event()) is not None:
        if conn.pending is not None:
            application.answer(conn, event)
    assert [f"{who}: {what.decode()}" for who, what in lines] == [
        "S: +OK POP3 server ready",
        "C: AUTH PLAIN",
        "S: + <secret>",
        "C: <secret>",
        "S: -ERR [AUTH] Authentication failed",
        "C: USER ada",
        "S: +OK Send the password",
        "C: PASS <secret>",
        "S: +OK maildrop locked and ready",
        "C: LIST",
        "S: +OK 2 messages (32 octets)",
        "S: 1 16",
        "S: 2 16",
        "S: .",
        "C: RETR 1",
        "S: +OK 16 octets",
        "S: <message of 16 octets>",
        "S: .",
        "C: <3 octets that are no command>",
        "S: -ERR Command not recognised",
        "C: QUIT",
        "S: +OK Good-bye",
    ]
