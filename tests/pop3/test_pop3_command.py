"""Command lines that a client writes: exact, and with nothing in them that a server could take for another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailproto.errors import GrammarError
from mailproto.pop3 import POP3ClientConnection
from mailproto.pop3.apop import apop_digest
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.command import command_line

Method = Callable[[POP3ClientConnection, str], object]

TEXT_PARAMETERS: dict[str, Method] = {
    "user": lambda conn, text: conn.user(text),
    "pass_": lambda conn, text: conn.pass_(text),
    "apop username": lambda conn, text: conn.apop(text, "secret"),
    "auth mechanism": lambda conn, text: conn.auth(text),
}
NUMBER_PARAMETERS: dict[str, Callable[[POP3ClientConnection, int], object]] = {
    "list": lambda conn, number: conn.list(number),
    "uidl": lambda conn, number: conn.uidl(number),
    "retr": lambda conn, number: conn.retr(number),
    "dele": lambda conn, number: conn.dele(number),
    "top number": lambda conn, number: conn.top(number, 0),
    "top lines": lambda conn, number: conn.top(1, number),
}
CORPUS = [
    "a\r\nQUIT",
    "a\nQUIT",
    "a\rQUIT",
    "\r\n",
    "a\0b",
    "a\x0bb",
    "a\x0cb",
    "a\x1bb",
    "a\x7fb",
    "a\x80b",
    "a\x85b",
    "a\x9fb",
    "a\tb",
    "\x01",
    "",
    "ñ",
    "\u2028",
    "\u2029",
    "\u560a\u560d",
    "\u760a\u760d",
    "\u010d\u010a",
    "\uff0d",
    "\ud800",
    "a" * 100_000,
    "a\n",
]


def greeted(login: bool = False) -> POP3ClientConnection:
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK hello <1@example.org>\r\n")
    conn.next_event()
    if login:
        conn.apop("ada", "secret")
        conn.data_to_send()
        conn.receive_data(b"+OK\r\n")
        conn.next_event()
    return conn


@pytest.mark.parametrize("name", TEXT_PARAMETERS)
@pytest.mark.parametrize("text", CORPUS, ids=lambda text: ascii(text[:12]))
def test_no_text_makes_a_second_command(name: str, text: str) -> None:
    conn = greeted()
    if name == "pass_":
        conn.user("ada")
        conn.data_to_send()
        conn.receive_data(b"+OK\r\n")
        conn.next_event()
    state = conn.state
    with pytest.raises(GrammarError):
        TEXT_PARAMETERS[name](conn, text)
    assert conn.data_to_send() == b""
    assert conn.state is state
    if name == "pass_":
        conn.pass_("still right behind USER")
        assert conn.data_to_send() == b"PASS still right behind USER\r\n"


@pytest.mark.parametrize("name", NUMBER_PARAMETERS)
@pytest.mark.parametrize("number", [-1, True, 1.0, "1", "1\r\nQUIT", 10**300])
def test_no_number_makes_a_second_command(name: str, number: int) -> None:
    conn = greeted(login=True)
    with pytest.raises(GrammarError):
        NUMBER_PARAMETERS[name](conn, number)
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("name", set(NUMBER_PARAMETERS) - {"top lines"})
def test_messages_are_numbered_from_1(name: str) -> None:
    with pytest.raises(GrammarError):
        NUMBER_PARAMETERS[name](greeted(login=True), 0)


def test_a_secret_may_be_anything_for_apop_since_only_its_digest_is_sent() -> None:
    conn = greeted()
    conn.apop("ada", "geheim \r\n \x7f")
    assert conn.data_to_send() == b"APOP ada %s\r\n" % apop_digest("<1@example.org>", "geheim \r\n \x7f").encode()
    with pytest.raises(GrammarError):
        greeted().apop("ada", "\ud800")


@pytest.mark.parametrize("text", ["two words", " leading", "trailing ", "  ", "~!@#$%^&*()", "a" * 248])
def test_a_password_keeps_its_spaces(text: str) -> None:
    conn = greeted()
    conn.capabilities = Capabilities({"PIPELINING": ()})
    conn.user("ada")
    conn.pass_(text)
    assert conn.data_to_send() == f"USER ada\r\nPASS {text}\r\n".encode("ascii")


def test_a_command_has_at_most_255_octets() -> None:
    conn = greeted()
    conn.user("a" * 248)
    assert len(conn.data_to_send()) == 255
    with pytest.raises(GrammarError, match="255"):
        greeted().user("a" * 249)


@pytest.mark.parametrize("verb", ["", "AB", "ABCDEFGHI", "A B", "AB\r\n", "ÄÖÜ"])
def test_a_keyword_has_three_to_eight_printable_characters(verb: str) -> None:
    with pytest.raises(GrammarError):
        command_line(verb)


def test_an_initial_response_goes_along_where_the_server_knows_it() -> None:
    lines = {
        ("PLAIN", None): b"AUTH PLAIN\r\n",
        ("PLAIN", b""): b"AUTH PLAIN =\r\n",
        ("PLAIN", b"\0test\0test"): b"AUTH PLAIN AHRlc3QAdGVzdA==\r\n",
        ("X-OWN_1", b"\xff"): b"AUTH X-OWN_1 /w==\r\n",
    }
    for (mechanism, response), line in lines.items():
        conn = greeted()
        conn.capabilities = Capabilities({"SASL": ("PLAIN",)})
        conn.auth(mechanism, response)
        assert conn.data_to_send() == line


def test_no_secret_is_in_the_repr_of_a_command() -> None:
    conn = greeted()
    conn.capabilities = Capabilities({"SASL": ("PLAIN",)})
    conn.user("ada")
    shown = [
        repr(conn.pass_("hunter2")),
        repr(conn.apop("ada", "hunter2")),
        repr(conn.auth("PLAIN", b"\0a\0hunter2")),
    ]
    assert shown == ["<PASS <secret>>", "<APOP ada <secret>>", "<AUTH PLAIN <secret>>"]
