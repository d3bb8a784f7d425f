"""Commands of one's own: the verbs that a server's config names, and what a client has no method for."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mailproto.errors import GrammarError, LocalProtocolError, Reject, RemoteProtocolError
from mailproto.pop3 import (
    CommandRejected,
    ExtensionCommand,
    Language,
    Limits,
    ListingReceived,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
)
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.rules import VERBS
from mailproto.testing import MemoryPOP3Client
from mailproto.transcript import Transcript
from tests.helpers import every_cut
from tests.pop3.harness import Application, Refused, every_server_cut, talk
from tests.pop3.test_pop3_flows_server import App
from tests.pop3.test_pop3_flows_server import talk as serve_lines
from tests.pop3.test_pop3_server import LOGIN, in_transaction

OWN = POP3ServerConfig(allow_plaintext_auth=True, commands=("XSENDER", "XTND"))

# The server.


def play(data: bytes, *words: Any, config: POP3ServerConfig = OWN) -> tuple[list[Any], bytes]:
    """Say ``data`` behind the login, however it is cut; return the events and the output behind it."""
    application = Application((b"x\r\n",), words={ExtensionCommand: list(words)})
    played = every_server_cut(lambda: POP3ServerConnection(config), [LOGIN + data], application)
    return played.events[2:-1], played.output.split(b"ready\r\n", 2)[2]


def test_they_come_as_events_and_in_turn() -> None:
    events, output = play(
        b"XSENDER 1\r\nxtnd bboards  misc \r\nNOOP\r\nXTND\r\nXSENDER 9\r\n",
        "ada@example.org",
        None,
        "three",
        Refused("no such message", "SYS/PERM"),
    )
    assert events == [
        ExtensionCommand("XSENDER", "1"),
        ExtensionCommand("XTND", "bboards  misc "),
        ExtensionCommand("XTND"),
        ExtensionCommand("XSENDER", "9"),
    ]
    assert output == (b"+OK ada@example.org\r\n+OK\r\n+OK\r\n+OK three\r\n-ERR [SYS/PERM] no such message\r\n")


@pytest.mark.parametrize("line", [b"XSENDER \xff", b"XSENDER \x07", b"XTN", b"XSENDERS 1", b"XSENDER\t1"])
def test_what_is_no_such_command(line: bytes) -> None:
    events, output = play(line + b"\r\n")
    assert [type(event) for event in events] == [CommandRejected]
    assert output.startswith(b"-ERR ")


def test_before_login_they_are_known_and_not_permitted() -> None:
    conn = POP3ServerConnection(OWN)
    conn.next_event()
    conn.accept()
    conn.data_to_send()
    event = talk(conn, b"XSENDER 1\r\n")
    assert isinstance(event, CommandRejected)
    assert (event.verb, str(event.response)) == ("XSENDER", "-ERR Command not permitted in this state")


def asked(line: bytes = b"XTND\r\n", config: POP3ServerConfig = OWN) -> POP3ServerConnection:
    conn = in_transaction(config=config)
    assert talk(conn, line) == conn.pending
    return conn


def test_nobodys_answer_is_that_there_is_no_such_command() -> None:
    for refuse in (POP3ServerConnection.answer_default, POP3ServerConnection.reject):
        conn = asked()
        refuse(conn)
        assert conn.data_to_send() == b"-ERR Command not recognised\r\n"
        assert talk(conn, b"NOOP\r\n") is None
        assert conn.data_to_send() == b"+OK\r\n"


@pytest.mark.parametrize(
    ("lines", "output"),
    [
        ([], b"+OK here\r\n.\r\n"),
        (["one", "two"], b"+OK here\r\none\r\ntwo\r\n.\r\n"),
        ([".", "..", ".x", ""], b"+OK here\r\n..\r\n...\r\n..x\r\n\r\n.\r\n"),
        (["a\r\n.\r\n-ERR", "gr\u00fcn\0"], b"+OK here\r\na??.??-ERR\r\ngr?n?\r\n.\r\n"),
    ],
)
def test_a_response_of_several_lines_ends_where_it_ends(lines: list[str], output: bytes) -> None:
    conn = asked()
    conn.accept("here", lines=iter(lines))
    assert conn.data_to_send() == output
    assert conn.pending is None


def test_its_lines_are_in_utf8_where_the_client_has_asked_for_it() -> None:
    german = Language("de", words={"here": "hier"})
    conn = in_transaction(config=POP3ServerConfig(allow_plaintext_auth=True, commands=("XTND",), languages=(german,)))
    talk(conn, b"LANG de\r\n")
    conn.data_to_send()
    talk(conn, b"XTND\r\n")
    conn.accept("here", lines=["gr\u00fcn", "a\u2028b"])
    assert conn.data_to_send().decode() == "+OK hier\r\ngr\u00fcn\r\na?b\r\n.\r\n"


def test_nothing_else_has_lines() -> None:
    conn = in_transaction()
    talk(conn, b"QUIT\r\n")
    with pytest.raises(LocalProtocolError, match="lines"):
        conn.accept(lines=["x"])
    assert conn.pending is not None
    conn = asked()
    with pytest.raises(LocalProtocolError, match="maildrop"):
        conn.accept(maildrop=[])


def test_lines_that_fail_leave_the_event_to_be_answered() -> None:
    conn = asked()
    with pytest.raises(ZeroDivisionError):
        conn.accept(lines=(str(1 // 0) for _ in range(1)))
    assert conn.pending == ExtensionCommand("XTND")
    assert conn.data_to_send() == b""


def test_they_count_against_all_commands_but_may_be_said_of_each_message() -> None:
    conn = in_transaction(
        config=POP3ServerConfig(
            allow_plaintext_auth=True, commands=("XTND",), limits=Limits(max_commands=5, max_junk=1)
        ),
        contents=(),
    )
    for _ in range(3):
        talk(conn, b"XTND\r\n")
        conn.accept()
    assert conn.data_to_send() == b"+OK\r\n" * 3
    talk(conn, b"XTND\r\n")
    assert conn.data_to_send() == b"-ERR Too many commands, good-bye\r\n"


def test_a_trace_shows_both() -> None:
    conn = in_transaction(config=OWN)
    conn.trace = transcript = Transcript()
    talk(conn, b"XTND one\r\n")
    conn.accept("here", lines=["two"])
    assert str(transcript) == "C: XTND one\nS: +OK here\nS: two\nS: ."


@pytest.mark.parametrize("verb", [*sorted(VERBS), "", "XY", "xtnd", "X TND", "XTND\n", "XTNDXTNDX", "XT\u00dcD"])
def test_a_verb_that_is_none_or_pop3s(verb: str) -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(commands=("XTND", verb))


# Hooks.


class Answering(App):
    def __init__(self, said: Any) -> None:
        super().__init__()
        self._said = said

    def on_command(self, session: Any, command: ExtensionCommand) -> Any:
        assert command == ExtensionCommand("XTND", "x")
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        (None, ["+OK"]),
        ("yes", ["+OK yes"]),
        (["one", ".two"], ["+OK", "one", "..two", "."]),
        ((), ["+OK", "."]),
        (Reject(550, "no", "SYS/PERM"), ["-ERR [SYS/PERM] no"]),
        (OverflowError("secret"), ["-ERR [SYS/TEMP] Internal error, try again later"]),
        (False, ["-ERR [SYS/TEMP] Internal error, try again later"]),
        ([1], ["-ERR [SYS/TEMP] Internal error, try again later"]),
    ],
)
def test_the_hook_answers(said: Any, lines: list[str]) -> None:
    data = b"USER ada\r\nPASS secret\r\nXTND x\r\nNOOP\r\n"
    _, answers = serve_lines(Answering(said), data, config=OWN)
    assert answers[2:] == [*lines, "+OK"]


def test_without_a_hook_there_is_no_such_command(caplog: pytest.LogCaptureFixture) -> None:
    _, answers = serve_lines(App(), b"USER ada\r\nPASS secret\r\nXTND x\r\n", config=OWN)
    assert answers[2:] == ["-ERR Command not recognised"]
    with caplog.at_level(logging.WARNING):
        MemoryPOP3Client(App())
        assert "on_command" not in caplog.text
        MemoryPOP3Client(App(), server=OWN)
    assert "the handler has no on_command, so that every command of your own is refused" in caplog.text


def test_the_test_kit_has_them_as_well() -> None:
    class Both(App):
        def on_command(self, session: Any, command: ExtensionCommand) -> Any:
            return command.argument if command.verb == "XSENDER" else ["one", "two"]

    with MemoryPOP3Client(Both(), server=OWN, user="ada", password="secret") as pop:
        assert pop.command("XSENDER", 7) == "7"
        assert pop.multiline_command("XTND") == ["one", "two"]


# The client.


def client(*capabilities: str) -> POP3ClientConnection:
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK hello\r\n")
    conn.next_event()
    conn.capabilities = Capabilities(dict.fromkeys(capabilities, ()))
    return conn


def answered(conn: POP3ClientConnection, data: bytes) -> list[Any]:
    conn.data_to_send()
    conn.receive_data(data)
    events = []
    while (event := conn.next_event()) is not None:
        events.append(event)
    return events


def test_a_client_says_any_in_one_flight_and_reads_the_answers_however_they_are_cut() -> None:
    data = "+OK grün\x07\r\n+OK here\r\none\r\n..twö\u2028\r\n.\r\n-ERR no\r\n".encode()
    for pieces in every_cut(data):
        conn = client("PIPELINING")
        one, several = conn.command("XSENDER", 1), conn.multiline_command("XTND", "a")
        refused = conn.multiline_command("XTND")
        assert conn.data_to_send() == b"XSENDER 1\r\nXTND a\r\nXTND\r\n"
        events = [event for piece in pieces for event in answered(conn, piece)]
        first, second, listing, third = events
        assert (first.command, second.command, third.command) == (one, several, refused)
        assert isinstance(listing, ListingReceived)
        assert one.result == "grün\\x07"
        assert several.result == listing.entries == ["one", ".twö\\u2028"]
        assert (refused.result, refused.done) == (None, True)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_client_does_not_say_so_what_it_has_a_method_for(verb: str) -> None:
    conn = client()
    for say in (conn.command, conn.multiline_command):
        with pytest.raises(LocalProtocolError, match=verb):
            say(verb)
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("evil", ["", " ", "a b", "a\rb", "a\nQUIT", "a\r\nQUIT", "a\0", "ü", "a" * 250])
def test_a_parameter_that_may_not_leave(evil: str) -> None:
    conn = client()
    for say in (conn.command, conn.multiline_command):
        with pytest.raises(GrammarError):
            say("XTND", evil)
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("verb", ["", "XY", "xtnd", "X TND", "XTND\r\nQUIT", "XTNDXTNDX", "XTÜD"])
def test_a_verb_that_may_not_leave(verb: str) -> None:
    conn = client()
    for say in (conn.command, conn.multiline_command):
        with pytest.raises(GrammarError):
            say(verb)
    assert conn.data_to_send() == b""


def test_a_response_of_another_shape_breaks_the_connection() -> None:
    conn = client()
    conn.command("XTND")
    with pytest.raises(RemoteProtocolError, match="a response to nothing"):
        answered(conn, b"+OK\r\none\r\n.\r\n")


def test_it_changes_nothing_that_the_client_knows_of() -> None:
    conn = client()
    command = conn.command("XTND", "hello")
    before = conn.state, conn.utf8_mode, conn.language
    assert repr(command) == "<XTND hello>"
    answered(conn, b"+OK\r\n")
    assert command.result == ""
    assert (conn.state, conn.utf8_mode, conn.language) == before
    assert conn.idle
