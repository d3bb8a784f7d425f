"""The client's connection: pipelining, nonsense from servers, tolerances, TLS, and what is never believed."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import (
    ConnectionTimeoutError,
    LocalProtocolError,
    MailProtoError,
    RemoteProtocolError,
)
from mailproto.pop3 import (
    AuthChallenge,
    Capabilities,
    ClientState,
    Command,
    ConnectionClosed,
    GreetingReceived,
    Limits,
    ListingReceived,
    MessageChunk,
    MessageEnd,
    POP3ClientConfig,
    POP3ClientConnection,
    ResponseReceived,
    StartTLS,
    Stat,
    Tolerance,
    ToleranceUsed,
)
from tests.pop3.harness import (
    TLS,
    client_turns,
    cuts,
    events,
    every_client_cut,
    play_client,
    read_transcript,
    talk,
)

PIPELINING = Capabilities({"PIPELINING": (), "SASL": ("PLAIN",)})


def greeted(config: POP3ClientConfig | None = None) -> POP3ClientConnection:
    conn = POP3ClientConnection(config)
    conn.receive_data(b"+OK ready <1@example.org>\r\n")
    assert isinstance(conn.next_event(), GreetingReceived)
    return conn


def logged_in(config: POP3ClientConfig | None = None, *, pipelining: bool = True) -> POP3ClientConnection:
    conn = greeted(config)
    if pipelining:
        conn.capabilities = PIPELINING
    conn.apop("ada", "secret")
    conn.data_to_send()
    assert isinstance(talk(conn, b"+OK\r\n"), ResponseReceived)
    assert conn.state is ClientState.TRANSACTION
    return conn


# Pipelining is a policy of the output.


def test_without_pipelining_one_command_at_a_time() -> None:
    conn = logged_in(pipelining=False)
    first, second = conn.noop(), conn.stat()
    assert conn.data_to_send() == b"NOOP\r\n"
    assert conn.data_to_send() == b""
    assert talk(conn, b"+OK\r\n").command is first
    assert conn.data_to_send() == b"STAT\r\n"
    assert talk(conn, b"+OK 2 320\r\n").command is second
    assert second.result == Stat(2, 320)


def test_with_pipelining_all_in_one_flight() -> None:
    conn = logged_in()
    commands: list[Command[Any]] = [conn.stat(), conn.list(1), conn.retr(1), conn.dele(1), conn.quit()]
    assert conn.data_to_send() == b"STAT\r\nLIST 1\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n"
    conn.receive_data(b"+OK 1 9\r\n+OK 1 9\r\n+OK\r\nA: b\r\n..\r\n.\r\n-ERR no\r\n+OK\r\n")
    found = events(conn)
    answered = [event.command for event in found if isinstance(event, ResponseReceived)]
    assert answered == commands
    assert [command.result for command in commands] == [Stat(1, 9), 9, None, None, None]
    assert MessageChunk(b"A: b\r\n.\r\n") in found
    assert found[-1] == ConnectionClosed(True)


def test_the_config_can_forbid_it() -> None:
    conn = logged_in(POP3ClientConfig(pipelining=False))
    conn.noop()
    conn.noop()
    assert conn.data_to_send() == b"NOOP\r\n"


def test_a_flight_is_bounded() -> None:
    conn = logged_in(POP3ClientConfig(limits=Limits(max_in_flight=3)))
    for _ in range(5):
        conn.noop()
    assert conn.data_to_send() == b"NOOP\r\n" * 3
    talk(conn, b"+OK\r\n")
    assert conn.data_to_send() == b"NOOP\r\n"


def test_where_none_may_be_ahead_they_leave_one_by_one() -> None:
    conn = logged_in(POP3ClientConfig(limits=Limits(max_in_flight=0)))
    conn.noop()
    conn.noop()
    assert conn.data_to_send() == b"NOOP\r\n"
    talk(conn, b"+OK\r\n")
    assert conn.data_to_send() == b"NOOP\r\n"


def test_nothing_leaves_before_the_greeting() -> None:
    conn = POP3ClientConnection()
    assert conn.data_to_send() == b""
    with pytest.raises(LocalProtocolError):
        conn.capa()


@pytest.mark.parametrize("pipelining", [False, True])
def test_what_was_said_before_we_asked_is_no_answer(pipelining: bool) -> None:
    """SECURITY S65: not even when nobody has looked at it before the question was put."""
    conn = logged_in(pipelining=pipelining)
    conn.receive_data(b"+OK 1 1\r\n")
    command = conn.stat()
    assert conn.data_to_send() == b""
    with pytest.raises(RemoteProtocolError, match=r"a response to nothing: \+OK 1 1"):
        conn.next_event()
    assert command.response is None


def test_a_challenge_that_came_before_the_end_is_not_answered_any_more() -> None:
    conn = greeted()
    conn.auth("LOGIN")
    conn.data_to_send()
    assert isinstance(talk(conn, b"+ \r\n"), AuthChallenge)
    conn.shut_down()
    with pytest.raises(LocalProtocolError):
        conn.auth_response(b"ada")
    assert conn.data_to_send() == b""


def test_user_and_pass_leave_together() -> None:
    conn = greeted()
    conn.capabilities = PIPELINING
    conn.user("ada")
    conn.pass_("secret")
    assert conn.data_to_send() == b"USER ada\r\nPASS secret\r\n"
    conn.receive_data(b"+OK\r\n+OK\r\n")
    assert len(events(conn)) == 2
    assert conn.state is ClientState.TRANSACTION


def test_pass_only_behind_user() -> None:
    conn = greeted()
    with pytest.raises(LocalProtocolError):
        conn.pass_("secret")
    conn.user("ada")
    conn.data_to_send()
    talk(conn, b"-ERR no\r\n")
    with pytest.raises(LocalProtocolError):
        conn.pass_("secret")
    conn.user("ada")
    conn.capa()
    with pytest.raises(LocalProtocolError):
        conn.pass_("secret")


def test_a_command_can_be_withdrawn_until_it_has_left() -> None:
    conn = logged_in()
    first = conn.retr(1)
    conn.data_to_send()
    second = conn.retr(2)
    assert conn.withdraw(second)
    assert not conn.withdraw(first)
    assert not conn.withdraw(second)
    assert conn.data_to_send() == b""


def test_idle_means_that_nothing_is_under_way() -> None:
    conn = POP3ClientConnection()
    assert not conn.idle
    conn = logged_in()
    assert conn.idle
    conn.retr(1)
    assert not conn.idle
    conn.data_to_send()
    for data, idle in ((b"+OK\r\n", False), (b"x\r\n", False), (b".\r\n", True)):
        conn.receive_data(data)
        events(conn)
        assert conn.idle is idle


# What servers say.


def test_every_kind_of_response_at_every_cut() -> None:
    played = every_client_cut(
        POP3ClientConnection,
        [
            (None, b"+OK\r\n"),
            (b"CAPA", b"-ERR\r\n"),
            (b"USER ada", b"+OK \r\n"),
            (b"PASS x", b"+OK [x/y] logged in\r\n"),
            (b"STAT", b"+OK 2 320 and so on\r\n"),
            (b"LIST", b"+OK\r\n1 120 and so on\r\n2 200\r\n.\r\n"),
            (b"LIST 1", b"+OK 1 120\r\n"),
            (b"UIDL", b"+OK\r\n1 .a\r\n2 ..\r\n.\r\n"),
            (b"UIDL 2", b"-ERR\r\n"),
            (b"TOP 1 0", b"+OK\r\n..\r\n.\r\n"),
            (b"RETR 1", b"+OK\r\n.\r\n"),
            (b"RETR 1", b"+OK\r\n\r\n\n.\n\n.\r\n\r.\r\r\n..\r\n.\r\n"),
            (b"LAST", b"+OK 2\r\n"),
            (b"RSET", b"+OK\r\n"),
            (b"QUIT", b"-ERR some deleted messages not removed\r\n"),
        ],
    )
    assert played.error is None
    assert MessageChunk(b".\r\n") in played.events
    assert MessageChunk(b"\r\n\n.\n\n.\r\n\r.\r\r\n.\r\n") in played.events, "only CRLF ends a line"
    assert any("{1: '.a', 2: '..'}" in str(event) for event in played.events)
    assert played.events[-1] == "ConnectionClosed(clean=True, reason='')"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("stat", b"+OK two\r\n"),
        ("stat", b"+OK\r\n"),
        ("stat", b"+OK +2 3\r\n"),
        ("stat", b"2 320\r\n"),
        ("stat", b"+ok 2 320\r\n"),
        ("stat", b"\r\n"),
        ("stat", b"+OK 2 320\n\r\n"[:9] + b"\r+OK\r\n"),
        ("list", b"+OK\r\n1\r\n.\r\n"),
        ("list", b"+OK\r\n1 x\r\n.\r\n"),
        ("list", b"+OK\r\n1 2\r\n1 3\r\n.\r\n"),
        ("list", b"+OK\r\n0 2\r\n.\r\n"),
        ("uidl", b"+OK\r\nx\r\n.\r\n"),
        ("uidl", b"+OK\r\n0\r\n.\r\n"),
        ("uidl", b"+OK\r\n1 \x80\r\n.\r\n"),
        ("noop", b"+\r\n"),
        ("noop", b"+ aGk=\r\n"),
        ("noop", b"\xff\xfe\r\n"),
        ("noop", b"+OK\r\n+OK\r\n"),
        ("noop", b"+OK\r\nx"),
        ("retr", b"+OK\r\na\r\n.\r\nb"),
        ("noop", b"-ERR\r\n-ERR idle for too long\r\n"),
    ],
)
def test_nonsense_fails_for_good_at_every_cut(command: str, answer: bytes) -> None:
    for [pieces] in cuts([answer]):
        conn = logged_in()
        getattr(conn, command)(*([1] if command == "retr" else []))
        conn.data_to_send()
        with pytest.raises(RemoteProtocolError):
            for piece in pieces:
                conn.receive_data(piece)
                events(conn)
        assert conn.state is ClientState.FAILED
        assert conn.closing
        conn.receive_data(b"+OK\r\n")
        with pytest.raises(RemoteProtocolError):
            conn.next_event()
        with pytest.raises(LocalProtocolError):
            conn.quit()
        assert conn.data_to_send() == b""


@pytest.mark.parametrize("greeting", [b"220 x\r\n", b"* OK imap\r\n", b"+\r\n", b"\r\n", b"+OKAY\r\n", b"x" * 13000])
def test_a_greeting_that_is_none(greeting: bytes) -> None:
    conn = POP3ClientConnection()
    with pytest.raises(RemoteProtocolError):
        talk(conn, greeting)


def test_a_greeting_that_refuses() -> None:
    played = every_client_cut(POP3ClientConnection, [(None, b"-ERR [SYS/TEMP] too busy\r\n")])
    assert played.events == [
        "GreetingReceived(response=Response(ok=False, text='too busy', code='SYS/TEMP'), timestamp=None)",
        "ConnectionClosed(clean=False, reason='the server said: -ERR [SYS/TEMP] too busy')",
    ]


def test_a_line_without_end_is_not_waited_for() -> None:
    """SECURITY S24."""
    for command in ("noop", "list"):
        conn = logged_in(POP3ClientConfig(limits=Limits(max_reply_line=100)))
        getattr(conn, command)()
        conn.data_to_send()
        if command == "list":
            talk(conn, b"+OK\r\n")
        with pytest.raises(RemoteProtocolError, match="an endless line"):
            for _ in range(101):
                conn.receive_data(b"1")
                conn.next_event()


def test_a_listing_without_end_is_not_kept() -> None:
    """SECURITY S25."""
    conn = logged_in(POP3ClientConfig(limits=Limits(max_listing=1000)))
    conn.list()
    conn.data_to_send()
    talk(conn, b"+OK\r\n")
    with pytest.raises(RemoteProtocolError, match="an endless listing"):
        for number in range(1, 1002):
            conn.receive_data(b"%d 1\r\n" % number)
            conn.next_event()


@pytest.mark.parametrize(
    ("command", "limits"),
    [
        ("list", Limits(max_listing=10)),
        ("capa", Limits(max_keywords=2)),
        ("languages", Limits(max_keywords=2)),
    ],
)
def test_nor_is_a_listing_of_long_lines(command: str, limits: Limits) -> None:
    conn = logged_in(POP3ClientConfig(limits=limits))
    getattr(conn, command)()
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n1 " + b"1" * 700 + b"\r\n2 " + b"2" * 700 + b"\r\n")
    with pytest.raises(RemoteProtocolError, match="an endless listing"):
        events(conn)


def test_what_was_sent_is_not_kept() -> None:
    """SECURITY S99."""
    conn = greeted()
    conn.user("ada")
    password = conn.pass_("hunter2")
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n")
    events(conn)
    assert conn.data_to_send() == b"PASS hunter2\r\n"
    assert not any("hunter2" in repr(getattr(password, name)) for name in password.__slots__)
    exchange = greeted().auth("PLAIN", b"\0ada\0hunter2")
    assert exchange.held == b"\0ada\0hunter2"
    conn = greeted()
    exchange = conn.auth("PLAIN", b"\0ada\0hunter2")
    conn.data_to_send()
    talk(conn, b"-ERR no\r\n")
    assert exchange.held is None


def test_a_message_of_any_length_and_of_one_line_passes() -> None:
    conn = logged_in()
    conn.retr(1)
    conn.data_to_send()
    talk(conn, b"+OK\r\n")
    for _ in range(100):
        assert talk(conn, b"x" * 65536) == MessageChunk(b"x" * 65536)
    conn.receive_data(b"\r\n.\r\n")
    assert conn.next_event() == MessageChunk(b"\r\n")
    end = conn.next_event()
    assert isinstance(end, MessageEnd)
    assert end.size == 100 * 65536 + 2
    assert len(conn._buffer) == 0


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_message_without_end_is_not_waited_for(step: int) -> None:
    """SECURITY S25: whole or in pieces, so many octets are taken and not one more."""
    for length in (50, 51):
        conn = logged_in(POP3ClientConfig(limits=Limits(max_retrieval=50)))
        conn.retr(1)
        conn.data_to_send()
        answer = b"+OK\r\n" + b"x" * (length - 2) + b"\r\n.\r\n"
        events: list[Any] = []
        try:
            for start in range(0, len(answer), step):
                conn.receive_data(answer[start : start + step])
                while (event := conn.next_event()) is not None:
                    events.append(event)
        except RemoteProtocolError as error:
            assert (length, str(error)) == (51, "an endless message")
        assert (length == 50) is isinstance(events[-1], MessageEnd)


def test_a_server_that_promises_much_gets_no_memory_for_it() -> None:
    conn = logged_in()
    conn.retr(1)
    conn.data_to_send()
    assert isinstance(talk(conn, b"+OK 99999999999999999999 octets\r\n"), ResponseReceived)


@pytest.mark.parametrize("behind", [b"", b"+OK\r\nhal", b"+OK\r\nhalf a message\r\n", b"+OK\r\nmessage\r\n."])
def test_an_end_in_the_middle_is_no_end_of_the_message(behind: bytes) -> None:
    conn = logged_in()
    conn.retr(1)
    conn.data_to_send()
    conn.receive_data(behind)
    conn.receive_eof()
    found = events(conn)
    assert not any(isinstance(event, MessageEnd) for event in found)
    assert found[-1] == ConnectionClosed(False, "the peer closed the connection")


def test_a_server_may_leave_between_commands() -> None:
    conn = logged_in()
    conn.receive_data(b"")
    assert conn.next_event() == ConnectionClosed(True)
    assert conn.next_event() is None
    with pytest.raises(LocalProtocolError, match="closed"):
        conn.noop()


def test_no_command_to_who_is_known_to_be_gone() -> None:
    """The end of input may come together with data that the caller answers to: an event tells of it, no exception."""
    conn = logged_in()
    conn.receive_eof()
    conn.quit()
    assert conn.data_to_send() == b"", "nobody would hear whether it made the deletions"
    assert conn.next_event() == ConnectionClosed(False, "the peer closed the connection")
    with pytest.raises(LocalProtocolError, match="closed"):
        conn.noop()


def test_no_answer_to_quit_is_no_good_end() -> None:
    """SECURITY S22: nobody knows then whether the deletions were made."""
    conn = logged_in()
    conn.quit()
    conn.data_to_send()
    conn.receive_eof()
    assert conn.next_event() == ConnectionClosed(False, "the peer closed the connection")


def test_closing_does_not_say_quit() -> None:
    conn = logged_in()
    conn.dele(1)
    conn.data_to_send()
    conn.shut_down()
    assert conn.closing
    assert conn.data_to_send() == b""
    assert conn.next_event() == ConnectionClosed(False, "closed by the client")


def test_a_timeout_is_the_end() -> None:
    conn = logged_in()
    conn.noop()
    conn.data_to_send()
    conn.receive_timeout()
    conn.receive_data(b"+OK\r\n")
    for _ in range(2):
        with pytest.raises(ConnectionTimeoutError):
            conn.next_event()
    with pytest.raises(LocalProtocolError):
        conn.noop()


def test_how_long_to_wait() -> None:
    limits = Limits(greeting_timeout=1, command_timeout=2, data_timeout=3, handshake_timeout=4)
    config = POP3ClientConfig(limits=limits)
    assert POP3ClientConnection(config).timeout == 1
    conn = greeted(config)
    assert conn.timeout == 2
    conn.stls()
    conn.data_to_send()
    talk(conn, b"+OK\r\n")
    assert conn.timeout == 4
    conn = logged_in(config)
    conn.retr(1)
    conn.data_to_send()
    talk(conn, b"+OK\r\n")
    assert conn.timeout == 3


# Tolerances.

TOLERATED = {
    Tolerance.STRAY_SPACES: ("list", b"+OK\r\n1  120\r\n2\t200 \r\n.\r\n", {1: 120, 2: 200}),
    Tolerance.LONG_UNIQUE_ID: ("uidl", b"+OK\r\n1 " + b"x" * 100 + b"\r\n.\r\n", {1: "x" * 100}),
    Tolerance.NO_UNIQUE_ID: ("uidl", b"+OK\r\n1 a\r\n2\r\n3 \r\n4 d\r\n.\r\n", {1: "a", 4: "d"}),
    Tolerance.SAME_UNIQUE_ID: ("uidl", b"+OK\r\n1 a\r\n2 a\r\n.\r\n", {1: "a", 2: "a"}),
}


@pytest.mark.parametrize("tolerance", TOLERATED)
def test_a_tolerance_reports_itself_once(tolerance: Tolerance) -> None:
    command, answer, entries = TOLERATED[tolerance]
    conn = logged_in()
    for expected in ([ToleranceUsed(tolerance)], []):
        getattr(conn, command)()
        conn.data_to_send()
        conn.receive_data(answer)
        first, listing, *rest = events(conn)
        assert isinstance(first, ResponseReceived)
        assert isinstance(listing, ListingReceived)
        assert (listing.entries, rest) == (entries, expected)


@pytest.mark.parametrize("tolerance", TOLERATED)
def test_a_tolerance_can_be_switched_off(tolerance: Tolerance) -> None:
    command, answer, _ = TOLERATED[tolerance]
    conn = logged_in(POP3ClientConfig(tolerances=frozenset(Tolerance) - {tolerance}))
    getattr(conn, command)()
    conn.data_to_send()
    conn.receive_data(answer)
    with pytest.raises(RemoteProtocolError, match=tolerance.value):
        events(conn)


def test_a_whole_listing_answers_for_the_message_asked() -> None:
    conn = logged_in()
    size, stat = conn.list(2), conn.stat()
    conn.data_to_send()
    conn.receive_data(b"+OK 2 messages\r\n1 120\r\n2 200\r\n.\r\n+OK 2 320\r\n")
    assert ToleranceUsed(Tolerance.WHOLE_LISTING) in events(conn)
    assert (size.result, stat.result) == (200, Stat(2, 320))
    conn = logged_in(POP3ClientConfig(tolerances=frozenset()))
    conn.list(2)
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n1 120\r\n2 200\r\n.\r\n")
    with pytest.raises(RemoteProtocolError, match=Tolerance.WHOLE_LISTING.value):
        events(conn)


@pytest.mark.parametrize("answer", [b"+OK 120 octets\r\nReceived: by", b"+OK\r\n1 120\r\n.\r\n", b"+OK\r\n+OK 2 200"])
def test_what_is_no_listing_is_none_though_its_end_does_not_come(answer: bytes) -> None:
    conn = logged_in()
    conn.list(2)
    conn.data_to_send()
    conn.receive_data(answer + b"\r\n")
    with pytest.raises(RemoteProtocolError):
        events(conn)


def test_a_unique_id_without_number_answers_for_the_message_asked() -> None:
    conn = logged_in()
    uid = conn.uidl(2)
    conn.data_to_send()
    conn.receive_data(b"+OK abc\r\n")
    assert events(conn)[1:] == [ToleranceUsed(Tolerance.ID_WITHOUT_NUMBER)]
    assert uid.result == "abc"
    conn = logged_in(POP3ClientConfig(tolerances=frozenset()))
    conn.uidl(2)
    conn.data_to_send()
    conn.receive_data(b"+OK abc\r\n")
    with pytest.raises(RemoteProtocolError, match="without number"):
        events(conn)


def test_stray_spaces_in_one_line_answers() -> None:
    conn = logged_in()
    stat, size, uid = conn.stat(), conn.list(2), conn.uidl(2)
    conn.data_to_send()
    conn.receive_data(b"+OK  2  320\r\n+OK 2  200\r\n+OK 2 abc \r\n")
    events(conn)
    assert (stat.result, size.result, uid.result) == (Stat(2, 320), 200, "abc")


def test_an_answer_about_another_message_is_nonsense() -> None:
    conn = logged_in()
    conn.list(2)
    conn.data_to_send()
    with pytest.raises(RemoteProtocolError, match="about message 1"):
        talk(conn, b"+OK 1 120\r\n")


# TLS (SECURITY S7).


def test_stls() -> None:
    conn = greeted()
    conn.capabilities = PIPELINING
    command = conn.stls()
    assert conn.data_to_send() == b"STLS\r\n"
    conn.receive_data(b"+OK begin\r\n")
    first, second = events(conn)
    assert (first.command, second) == (command, StartTLS())
    conn.capa()
    assert conn.data_to_send() == b"", "not before the handshake"
    conn.tls_established(TLS)
    assert conn.capabilities is None, "what was learnt in clear is forgotten"
    assert conn.data_to_send() == b"CAPA\r\n"
    with pytest.raises(LocalProtocolError, match="in use"):
        conn.stls()


@pytest.mark.parametrize("behind", [b"+OK fake\r\n", b"x", b"\r\n", b"+OK\r\nSASL PLAIN\r\n.\r\n", b"\x16\x03\x03"])
def test_what_comes_behind_the_ok_to_stls_in_clear_ends_everything(behind: bytes) -> None:
    data = b"+OK begin\r\n" + behind
    for [pieces] in cuts([data]):
        conn = greeted()
        conn.stls()
        conn.data_to_send()
        with pytest.raises(RemoteProtocolError, match="the peer sent data"):
            for piece in pieces:
                conn.receive_data(piece)
                events(conn)
        conn.tls_established(TLS)
        assert conn.tls is None
        with pytest.raises(LocalProtocolError):
            conn.user("ada")
        assert conn.data_to_send() == b""


def test_stls_refused() -> None:
    conn = greeted()
    conn.stls()
    conn.data_to_send()
    assert not talk(conn, b"-ERR\r\n").response.ok
    assert events(conn) == []
    conn.user("ada")
    assert conn.data_to_send() == b"USER ada\r\n"


def test_implicit_tls() -> None:
    conn = POP3ClientConnection()
    conn.tls_established(TLS)
    assert isinstance(talk(conn, b"+OK\r\n"), GreetingReceived)
    with pytest.raises(LocalProtocolError):
        conn.tls_established(TLS)


# AUTH.


def test_an_initial_response_waits_where_it_may_not_go_along() -> None:
    long = b"\0ada\0" + b"x" * 300
    for capabilities, response in ((None, b"\0a\0b"), (Capabilities(), b"\0a\0b"), (PIPELINING, long)):
        conn = greeted()
        conn.capabilities = capabilities
        conn.auth("PLAIN", response)
        assert conn.data_to_send() == b"AUTH PLAIN\r\n"
        assert talk(conn, b"+ \r\n") is None
        assert conn.data_to_send().startswith(b"AGEAYg==\r\n" if response != long else b"AGFkYQB4eHh4")
        assert talk(conn, b"+OK\r\n").response.ok
        assert conn.state is ClientState.TRANSACTION


def test_a_challenge_where_the_client_begins_is_nonsense() -> None:
    conn = greeted()
    conn.auth("PLAIN", b"\0a\0b")
    conn.data_to_send()
    with pytest.raises(RemoteProtocolError):
        talk(conn, b"+ aGk=\r\n")


def test_challenges_and_responses() -> None:
    conn = greeted()
    command = conn.auth("LOGIN")
    conn.data_to_send()
    assert talk(conn, b"+ VXNlcm5hbWU6\r\n") == AuthChallenge(command, b"Username:")
    conn.auth_response(b"ada")
    assert conn.data_to_send() == b"YWRh\r\n"
    with pytest.raises(LocalProtocolError, match="no challenge"):
        conn.auth_response(b"ada")
    assert talk(conn, b"+ \r\n") == AuthChallenge(command, b"")
    conn.auth_cancel()
    assert conn.data_to_send() == b"*\r\n"
    assert not talk(conn, b"-ERR cancelled\r\n").response.ok
    assert conn.state is ClientState.AUTHORIZATION
    with pytest.raises(LocalProtocolError, match="no challenge"):
        conn.auth_cancel()


@pytest.mark.parametrize("challenge", [b"+ !", b"+ A", b"+ =AAA", b"+ AAA=BBB=", b"+aGk=", b"+ aGk= ", b"+ go ahead"])
def test_a_challenge_that_is_no_base64_is_cancelled(challenge: bytes) -> None:
    """RFC 5034 section 4."""
    conn = greeted()
    conn.auth("LOGIN")
    conn.data_to_send()
    assert talk(conn, challenge + b"\r\n") is None
    assert conn.data_to_send() == b"*\r\n"
    assert not talk(conn, b"-ERR\r\n").response.ok


def test_a_plus_without_space() -> None:
    conn = greeted()
    command = conn.auth("LOGIN")
    conn.data_to_send()
    conn.receive_data(b"+\r\n")
    assert events(conn) == [AuthChallenge(command, b""), ToleranceUsed(Tolerance.BARE_PLUS)]
    conn = greeted(POP3ClientConfig(tolerances=frozenset()))
    conn.auth("LOGIN")
    conn.data_to_send()
    assert talk(conn, b"+\r\n") is None
    assert conn.data_to_send() == b"*\r\n"


def test_two_challenges_at_once_are_nonsense() -> None:
    conn = greeted()
    conn.auth("LOGIN")
    conn.data_to_send()
    talk(conn, b"+ \r\n+ \r\n")
    with pytest.raises(RemoteProtocolError, match="before the last one"):
        conn.next_event()


def test_a_refusal_instead_of_a_challenge() -> None:
    played = play_client(
        POP3ClientConnection,
        [None, b"AUTH LOGIN", b"*", b"QUIT"],
        [[b"+OK\r\n"], [b"+ \r\n"], [b"-ERR [AUTH] no\r\n"], [b"+OK\r\n"]],
    )
    assert played.error is None
    assert played.output == b"AUTH LOGIN\r\n*\r\nQUIT\r\n"


# Secrets (SECURITY S23).


def test_no_secret_is_traced_or_shown() -> None:
    lines: list[tuple[str, bytes]] = []
    shown = []
    conn = greeted()
    conn.capabilities = Capabilities({"SASL": ("PLAIN",)})
    conn.trace = lambda who, line: lines.append((who, line))
    for queue, answers in (
        (lambda: (conn.user("ada"), conn.pass_("hunter2")), (b"+OK\r\n", b"-ERR no\r\n")),
        (lambda: conn.apop("ada", "hunter2"), (b"-ERR no\r\n",)),
        (lambda: conn.auth("PLAIN", b"\0ada\0hunter2"), (b"-ERR no\r\n",)),
        (lambda: conn.auth("LOGIN"), (b"+ aHVudGVyMg==\r\n", b"-ERR no\r\n")),
    ):
        shown.append(repr(queue()))
        for answer in answers:
            conn.data_to_send()
            event = talk(conn, answer)
            shown.append(repr(event))
            if isinstance(event, AuthChallenge):
                conn.auth_response(b"hunter2")
    conn.quit()
    conn.data_to_send()
    try:
        talk(conn, b"nonsense\r\n")
    except MailProtoError as error:
        shown.append(repr(error))
    seen = "\n".join([*shown, *map(repr, lines), repr(conn)])
    secrets = ["hunter2", "aHVudGVyMg==", "AGFkYQBodW50ZXIy"]
    assert not [secret for secret in secrets if secret in seen]
    assert ("C", b"PASS <secret>") in lines
    assert ("S", b"+ <secret>") in lines
    assert ("C", b"<secret>") in lines


def test_a_trace_tells_who_said_what() -> None:
    conn = POP3ClientConnection()
    lines: list[str] = []
    conn.trace = lambda who, line: lines.append(f"{who}: {line.decode()}")
    conn.receive_data(b"+OK ready\r\n")
    events(conn)
    for queue, answer in (
        (lambda: conn.auth("LOGIN"), b"+ \r\n"),
        (lambda: conn.auth_cancel(), b"-ERR\r\n"),
        (lambda: conn.user("ada"), b"+OK\r\n"),
        (lambda: conn.pass_("x"), b"+OK\r\n"),
        (lambda: conn.list(), b"+OK\r\n1 9\r\n.\r\n"),
        (lambda: conn.retr(1), b"+OK\r\nA: b\r\n..\r\n.\r\n"),
    ):
        queue()
        conn.data_to_send()
        conn.receive_data(answer)
        events(conn)
    assert lines == [
        "S: +OK ready",
        "C: AUTH LOGIN",
        "S: + ",
        "C: *",
        "S: -ERR",
        "C: USER ada",
        "S: +OK",
        "C: PASS <secret>",
        "S: +OK",
        "C: LIST",
        "S: +OK",
        "S: 1 9",
        "S: .",
        "C: RETR 1",
        "S: +OK",
        "S: <message of 9 octets>",
        "S: .",
    ]


@pytest.mark.parametrize(("limit", "told"), [(12, b"..\r\nabcdefgh"), (13, b"..\r\nabcdefgh\r"), (0, b"")])
def test_a_message_without_end_is_not_taken_for_ever_wherever_it_is_cut(limit: int, told: bytes) -> None:
    turns = client_turns(read_transcript("S: +OK\nC: USER ada\nS: +OK\nC: PASS secret\nS: +OK\nC: RETR 1\nS: +OK"))
    turns[-1] = (turns[-1][0], turns[-1][1] + b"...\r\nabcdefgh\r\n.\r\n")
    config = POP3ClientConfig(limits=Limits(max_retrieval=limit))
    played = every_client_cut(lambda: POP3ClientConnection(config), turns, "secret")
    assert played.error is not None and "an endless message" in played.error
    assert [event.data for event in played.events if isinstance(event, MessageChunk)] == [told] * bool(told)
    whole = POP3ClientConfig(limits=Limits(max_retrieval=14))
    played = every_client_cut(lambda: POP3ClientConnection(whole), turns, "secret")
    assert played.error is None and "size=14" in played.events[-2]


def test_a_message_has_more_time_as_it_comes_and_not_for_drops_of_it() -> None:
    conn = logged_in(POP3ClientConfig(limits=Limits(min_data_rate=10, data_timeout=10)))
    conn.retr(1)
    conn.data_to_send()
    assert isinstance(talk(conn, b"+OK\r\n"), ResponseReceived)
    before = conn.progress
    for size in (100, 250, 60, 60):
        assert isinstance(talk(conn, b"x" * size), MessageChunk)
    assert conn.progress - before == 3, "one for each time that 100 octets and more have come"
