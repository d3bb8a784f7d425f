"""The tables of rules, walked: every command in every state, on both sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailproto.errors import LocalProtocolError
from mailproto.pop3 import (
    Apop,
    Auth,
    AuthResponse,
    ClientState,
    CommandRejected,
    Connected,
    ConnectionClosed,
    ExtensionCommand,
    Language,
    Login,
    MessageInfo,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    Retrieve,
    ServerState,
    StartTLS,
    Update,
    XClient,
)
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.rules import CLIENT_RULES, CLIENT_TABLE, OTHER, SERVER_RULES, SERVER_TABLE, VERBS, Outcome
from tests.pop3.harness import say

LINES = {
    "USER": b"USER ada",
    "PASS": b"PASS two words",
    "APOP": b"APOP ada c4c9334bac560ecc979e58001b3e22fb",
    "AUTH": b"AUTH PLAIN",
    "XCLIENT": b"XCLIENT ADDR=192.0.2.1",
    "RETR": b"RETR 1",
    "TOP": b"TOP 1 0",
    "DELE": b"DELE 1",
    "XOWN": b"xOwn one  two",
}
ASKED = {
    "PASS": Login("ada", "two words"),
    "APOP": Apop("ada", "<1@example.org>", "c4c9334bac560ecc979e58001b3e22fb"),
    "AUTH": Auth("PLAIN"),
    "STLS": StartTLS(),
    "XCLIENT": XClient({"ADDR": "192.0.2.1"}),
    "RETR": Retrieve(1),
    "TOP": Retrieve(1, 0),
    "QUIT": Update(()),
    "XOWN": ExtensionCommand("XOWN", "one  two"),
}
OWN = "XOWN"


def line_of(verb: str) -> bytes:
    return LINES.get(verb, verb.encode("ascii")) + b"\r\n"


# The server.


def server_in(state: ServerState) -> POP3ServerConnection:
    config = POP3ServerConfig(
        starttls=True,
        allow_plaintext_auth=True,
        auth_mechanisms=("PLAIN",),
        last=True,
        greeting="hello",
        languages=(Language("de"),),
        commands=(OWN,),
    )
    conn = POP3ServerConnection(config, "<1@example.org>")
    conn.trusted = True
    assert conn.next_event() == Connected()
    if state is not ServerState.CONNECTED:
        conn.accept()
    if state in (ServerState.NAMED, ServerState.TRANSACTION, ServerState.UPDATE, ServerState.CLOSED):
        conn.receive_data(b"USER ada\r\n")
        assert conn.next_event() is None
    if state in (ServerState.TRANSACTION, ServerState.UPDATE, ServerState.CLOSED):
        conn.receive_data(b"PASS x\r\n")
        assert isinstance(conn.next_event(), Login)
        conn.accept(maildrop=[MessageInfo(10, "one")])
    if state in (ServerState.UPDATE, ServerState.CLOSED):
        conn.receive_data(b"QUIT\r\n")
        assert isinstance(conn.next_event(), Update)
    if state is ServerState.CLOSED:
        conn.accept()
    if state is ServerState.EXCHANGE:
        conn.receive_data(b"AUTH PLAIN\r\n")
        assert isinstance(conn.next_event(), Auth)
        conn.challenge(b"")
    conn.data_to_send()
    assert conn.state is state
    return conn


@pytest.mark.parametrize("verb", [*sorted(VERBS), OWN])
@pytest.mark.parametrize(
    "state", [ServerState.AUTHORIZATION, ServerState.NAMED, ServerState.TRANSACTION], ids=lambda s: s.name
)
def test_server_does_what_the_table_says(state: ServerState, verb: str) -> None:
    conn = server_in(state)
    conn.receive_data(line_of(verb))
    event = conn.next_event()
    output = conn.data_to_send()
    match SERVER_RULES[state, OTHER if verb == OWN else verb]:
        case Outcome.ASK:
            assert event == conn.pending == ASKED[verb]
            assert output == b""
        case Outcome.OWN:
            assert event is None or event == ConnectionClosed(True)
            assert output.startswith(b"+OK")
        case Outcome.REFUSED:
            assert isinstance(event, CommandRejected)
            assert event.verb == verb
            assert output == b"-ERR Command not permitted in this state\r\n"
            assert conn.state is not ServerState.NAMED


@pytest.mark.parametrize("verb", [*sorted(VERBS), OWN])
def test_server_looks_at_no_command_while_something_is_pending(verb: str) -> None:
    for state in (ServerState.CONNECTED, ServerState.UPDATE):
        conn = server_in(state)
        conn.receive_data(line_of(verb))
        with pytest.raises(LocalProtocolError):
            conn.next_event()
        assert (conn.state, conn.data_to_send()) == (state, b"")


@pytest.mark.parametrize("verb", [*sorted(VERBS), OWN])
def test_server_takes_no_response_for_a_command(verb: str) -> None:
    conn = server_in(ServerState.EXCHANGE)
    conn.receive_data(line_of(verb))
    event = conn.next_event()
    if verb in LINES or len(verb) % 4:
        assert isinstance(event, CommandRejected)
        assert conn.data_to_send() == b"-ERR Cannot decode the response\r\n"
        assert conn.state is ServerState.AUTHORIZATION
    else:
        assert isinstance(event, AuthResponse)


@pytest.mark.parametrize("verb", [*sorted(VERBS), OWN])
def test_server_is_deaf_once_it_is_closed(verb: str) -> None:
    conn = server_in(ServerState.CLOSED)
    conn.receive_data(line_of(verb))
    assert conn.next_event() == ConnectionClosed(True)
    assert conn.next_event() is None
    assert conn.data_to_send() == b""


def test_server_table_knows_all_states_that_look_at_commands() -> None:
    assert set(SERVER_RULES) == {
        (state, verb)
        for state in (ServerState.AUTHORIZATION, ServerState.NAMED, ServerState.TRANSACTION)
        for verb in VERBS | {OTHER}
    }
    assert SERVER_TABLE.count("\n") == len(VERBS) + 3


@pytest.mark.parametrize("between", ["CAPA", "NOOP", "XYZ", "AUTH NONE", "LIST"])
def test_pass_comes_right_behind_user_or_not_at_all(between: str) -> None:
    conn = server_in(ServerState.NAMED)
    conn.receive_data(f"{between}\r\nPASS x\r\n".encode("ascii"))
    events = []
    while (event := conn.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], CommandRejected)
    assert events[-1].verb == "PASS"


# The client.


def client_in(state: ClientState) -> POP3ClientConnection:
    conn = POP3ClientConnection()
    if state is ClientState.GREETING:
        return conn
    conn.receive_data(b"+OK hello <1@example.org>\r\n" if state is not ClientState.FAILED else b"hello\r\n")
    if state is ClientState.FAILED:
        with pytest.raises(Exception, match="not a response"):
            conn.next_event()
        return conn
    conn.next_event()
    if state is ClientState.TRANSACTION:
        answer(conn, conn.apop("ada", "x"))
    elif state is ClientState.CLOSED:
        answer(conn, conn.quit())
    elif state is ClientState.AUTHORIZATION:
        conn.user("ada")
    conn.data_to_send()
    return conn


def answer(conn: POP3ClientConnection, command: object) -> None:
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n")
    assert getattr(conn.next_event(), "command", None) is command


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("state", ClientState, ids=lambda s: s.name)
def test_client_says_what_the_table_lets_it(state: ClientState, verb: str) -> None:
    conn = client_in(state)
    assert conn.state is state
    conn.capabilities = Capabilities({"PIPELINING": (), "XCLIENT": ()})
    line = line_of(verb).replace(b"c4c9334bac560ecc979e58001b3e22fb", b"secret")
    outcome = CLIENT_RULES[state, verb]
    if outcome is Outcome.SENT:
        assert say(conn, line[:-2], "secret").verb == verb
        assert conn.data_to_send().startswith(verb.encode("ascii"))
    else:
        with pytest.raises(LocalProtocolError):
            say(conn, line[:-2], "secret")
        assert conn.data_to_send() == b""


def test_client_table_is_complete() -> None:
    assert set(CLIENT_RULES) == {(state, verb) for state in ClientState for verb in VERBS | {OTHER}}
    assert CLIENT_TABLE.count("\n") == len(VERBS) + 3


@pytest.mark.parametrize("multiline", [False, True])
@pytest.mark.parametrize("state", ClientState, ids=lambda s: s.name)
def test_client_says_what_it_has_no_method_for_where_the_table_lets_it(state: ClientState, multiline: bool) -> None:
    conn = client_in(state)
    command = conn.multiline_command if multiline else conn.command
    if CLIENT_RULES[state, OTHER] is Outcome.SENT:
        command("XOWN", 1)
        assert conn.data_to_send() == (b"XOWN 1\r\n" if state is ClientState.TRANSACTION else b"")
    else:
        with pytest.raises(LocalProtocolError):
            command("XOWN", 1)
        assert conn.data_to_send() == b""


LAST_OF_A_FLIGHT: dict[str, Callable[[POP3ClientConnection], object]] = {
    "QUIT": lambda conn: conn.quit(),
    "STLS": lambda conn: conn.stls(),
    "AUTH": lambda conn: conn.auth("PLAIN"),
    "XCLIENT": lambda conn: conn.xclient({"PORT": "1"}),
}


@pytest.mark.parametrize("verb", LAST_OF_A_FLIGHT)
def test_client_queues_nothing_behind_what_changes_everything(verb: str) -> None:
    conn = client_in(ClientState.AUTHORIZATION)
    conn.capabilities = Capabilities({"XCLIENT": ()})
    LAST_OF_A_FLIGHT[verb](conn)
    with pytest.raises(LocalProtocolError, match=f"behind {verb}"):
        conn.capa()
