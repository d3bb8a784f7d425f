"""A client's flows against a server that is a script: what is said, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    GrammarError,
    NotSupportedError,
    RemoteProtocolError,
    TLSRequiredError,
)
from mailproto.pop3 import POP3ClientConnection, ResponseError, Stat
from mailproto.pop3.flows import (
    Fetch,
    MessageListing,
    SessionOptions,
    begin_retrieve,
    default_endpoint,
    delete,
    listing,
    next_chunk,
    open_session,
    quit_session,
    request,
)
from mailproto.sasl import Credentials
from tests.pop3.harness import Runner

ADA = Credentials("ada", "secret")
NONE, OPPORTUNISTIC, REQUIRED, IMPLICIT = (
    TLSPolicy.NONE,
    TLSPolicy.OPPORTUNISTIC,
    TLSPolicy.REQUIRED,
    TLSPolicy.IMPLICIT,
)
HELLO = "+OK hello"
PLAIN = "+OK|SASL PLAIN|PIPELINING|UIDL|."
OFFERS_STLS = "+OK|STLS|."


class Script:
    """A server that answers whatever it is told with the next line of its script, ``|`` for CRLF."""

    def __init__(self, *answers: str) -> None:
        self.answers: Iterator[str] = iter(answers)
        self.heard: list[str] = []

    def answer(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")[:-1]
        self.heard += [line.decode("ascii") for line in lines]
        return b"".join(self._next() for _ in lines)

    def _next(self) -> bytes:
        answer = next(self.answers, None)
        assert answer is not None, f"no answer to {self.heard[-1:]}"
        return answer.replace("|", "\r\n").encode("ascii") + b"\r\n" if answer else b""


def run(script: Script, conn: POP3ClientConnection, flow: Flow[Any]) -> Any:
    """Run a flow against the script to its end; return its result, or raise what ended it."""
    runner = Runner(conn, flow)
    if conn.state.name == "GREETING":
        runner.run()
        conn.receive_data(script._next())
    runner.run()
    while not runner.done:
        data = script.answer(runner.take())
        if not data:
            conn.receive_eof()
        else:
            conn.receive_data(data)
        runner.run()
    script.answer(runner.take())
    if runner.error is not None:
        raise runner.error
    return runner.result


def open_with(script: Script, **options: Any) -> POP3ClientConnection:
    conn = POP3ClientConnection()
    run(script, conn, open_session(conn, SessionOptions(**options)))
    return conn


def logged_in(*answers: str) -> tuple[Script, POP3ClientConnection]:
    script = Script(HELLO, PLAIN, "+OK", *answers)
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    script.heard.clear()
    return script, conn


# Endpoints.


@pytest.mark.parametrize(
    ("port", "tls", "endpoint"),
    [
        (None, None, (995, IMPLICIT)),
        (None, IMPLICIT, (995, IMPLICIT)),
        (None, REQUIRED, (110, REQUIRED)),
        (None, NONE, (110, NONE)),
        (995, None, (995, IMPLICIT)),
        (110, None, (110, REQUIRED)),
        (8110, None, (8110, REQUIRED)),
        (8110, NONE, (8110, NONE)),
        (995, REQUIRED, (995, REQUIRED)),
    ],
)
def test_endpoints(port: int | None, tls: TLSPolicy | None, endpoint: tuple[int, TLSPolicy]) -> None:
    assert default_endpoint(port, tls) == endpoint


# TLS (SECURITY S8): the matrix of policy and server.


def test_implicit_tls_comes_first() -> None:
    script = Script(HELLO, PLAIN, "+OK")
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    assert conn.tls is not None
    assert script.heard == ["CAPA", "AUTH PLAIN AGFkYQBzZWNyZXQ="]


def test_required_tls_is_taken_and_everything_asked_again() -> None:
    script = Script(HELLO, "+OK|STLS|SASL LOGIN|.", "+OK", PLAIN, "+OK")
    conn = open_with(script, tls=REQUIRED, credentials=ADA)
    assert conn.tls is not None
    assert script.heard == ["CAPA", "STLS", "CAPA", "AUTH PLAIN AGFkYQBzZWNyZXQ="]


@pytest.mark.parametrize("answers", [["+OK|SASL PLAIN|USER|."], ["-ERR"], [OFFERS_STLS, "-ERR"], ["+OK|."]])
def test_required_tls_that_is_not_to_be_had_is_the_end(answers: list[str]) -> None:
    script = Script("+OK hello <1@example.org>", *answers)
    with pytest.raises(TLSRequiredError):
        open_with(script, tls=REQUIRED, credentials=ADA)
    assert set(script.heard) <= {"CAPA", "STLS"}


@pytest.mark.parametrize("answers", [["+OK|USER|."], [OFFERS_STLS, "-ERR"], ["-ERR"]])
def test_opportunistic_tls_never_goes_with_a_password_in_clear(answers: list[str]) -> None:
    script = Script(HELLO, *answers)
    with pytest.raises(AuthenticationError):
        open_with(script, tls=OPPORTUNISTIC, credentials=ADA)
    assert set(script.heard) <= {"CAPA", "STLS"}
    conn = open_with(Script(HELLO, *answers), tls=OPPORTUNISTIC)
    assert conn.tls is None


def test_opportunistic_tls_that_is_there_is_taken() -> None:
    script = Script(HELLO, OFFERS_STLS, "+OK", PLAIN, "+OK")
    open_with(script, tls=OPPORTUNISTIC, credentials=ADA)
    assert script.heard[:3] == ["CAPA", "STLS", "CAPA"]


def test_no_tls_means_no_password_unless_told_so() -> None:
    script = Script(HELLO, "+OK|USER|STLS|.")
    with pytest.raises(AuthenticationError, match="without TLS"):
        open_with(script, tls=NONE, credentials=ADA)
    assert script.heard == ["CAPA"]
    script = Script(HELLO, "+OK|USER|STLS|.", "+OK", "+OK")
    open_with(script, tls=NONE, credentials=ADA, allow_plaintext_auth=True)
    assert script.heard == ["CAPA", "USER ada", "PASS secret"]


def test_what_comes_behind_the_ok_to_stls_is_an_attack() -> None:
    script = Script(HELLO, OFFERS_STLS, "+OK|+OK|SASL PLAIN|.")
    with pytest.raises(RemoteProtocolError):
        open_with(script, tls=REQUIRED, credentials=ADA)
    assert script.heard == ["CAPA", "STLS"]


# Login.


def test_user_and_pass_where_no_sasl_is_offered() -> None:
    for capabilities in ("-ERR", "+OK|USER|.", "+OK|TOP|.", "+OK|USER|SASL GSSAPI|."):
        script = Script(HELLO, capabilities, "+OK", "+OK")
        open_with(script, tls=IMPLICIT, credentials=ADA)
        assert script.heard == ["CAPA", "USER ada", "PASS secret"]


def test_user_and_pass_leave_together_where_they_may() -> None:
    conn = POP3ClientConnection()
    flow = Runner(conn, open_session(conn, SessionOptions(tls=IMPLICIT, credentials=ADA)))
    flow.run()
    conn.receive_data(b"+OK\r\n")
    flow.run()
    flow.take()
    conn.receive_data(b"+OK\r\nUSER\r\nPIPELINING\r\n.\r\n")
    flow.run()
    assert flow.take() == b"USER ada\r\nPASS secret\r\n"


def test_no_password_for_who_refuses_the_name() -> None:
    script = Script(HELLO, "+OK|USER|.", "-ERR who?")
    with pytest.raises(AuthenticationError, match="who"):
        open_with(script, tls=IMPLICIT, credentials=ADA)
    assert script.heard == ["CAPA", "USER ada"]
    script = Script(HELLO, "+OK|USER|PIPELINING|.", "-ERR who?", "-ERR USER first")
    with pytest.raises(AuthenticationError, match="who"):
        open_with(script, tls=IMPLICIT, credentials=ADA)


def test_no_weaker_way_after_a_refusal() -> None:
    """SECURITY S15."""
    script = Script("+OK hello <1@a>", "+OK|SASL PLAIN LOGIN|USER|.", "-ERR no")
    with pytest.raises(AuthenticationError):
        open_with(script, tls=IMPLICIT, credentials=ADA)
    assert script.heard == ["CAPA", "AUTH PLAIN AGFkYQBzZWNyZXQ="]


@pytest.mark.parametrize(
    ("answer", "temporary"),
    [("-ERR [IN-USE] x", True), ("-ERR [SYS/TEMP] x", True), ("-ERR [AUTH] x", False), ("-ERR x", False)],
)
def test_a_refusal_says_whether_it_is_for_good(answer: str, temporary: bool) -> None:
    for capabilities, answers in ((PLAIN, [answer]), ("-ERR", ["+OK", answer])):
        with pytest.raises(AuthenticationError) as caught:
            open_with(Script(HELLO, capabilities, *answers), tls=IMPLICIT, credentials=ADA)
        assert caught.value.temporary is temporary
        assert "secret" not in str(caught.value)


def test_the_callers_mechanisms_and_no_others() -> None:
    script = Script(HELLO, "+OK|SASL PLAIN LOGIN|USER|.", "+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "+OK")
    open_with(script, tls=IMPLICIT, credentials=ADA, mechanisms=("LOGIN",))
    assert script.heard[1:] == ["AUTH LOGIN", "YWRh", "c2VjcmV0"]
    script = Script(HELLO, "+OK|SASL PLAIN|USER|.")
    with pytest.raises(AuthenticationError, match="no mechanism"):
        open_with(script, tls=IMPLICIT, credentials=ADA, mechanisms=("LOGIN",))
    assert script.heard == ["CAPA"]
    script = Script(HELLO, "+OK|SASL PLAIN|USER|.", "+OK", "+OK")
    open_with(script, tls=IMPLICIT, credentials=ADA, mechanisms=())
    assert script.heard[1:] == ["USER ada", "PASS secret"]


def test_apop_only_when_asked_for() -> None:
    greeting = "+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>"
    script = Script(greeting, "-ERR", "+OK")
    open_with(script, tls=IMPLICIT, credentials=Credentials("mrose", "tanstaaf"), apop=True)
    assert script.heard == ["CAPA", "APOP mrose c4c9334bac560ecc979e58001b3e22fb"]
    script = Script(HELLO, "-ERR")
    with pytest.raises(NotSupportedError):
        open_with(script, tls=IMPLICIT, credentials=ADA, apop=True)
    with pytest.raises(AuthenticationError):
        open_with(Script(greeting, "-ERR"), tls=NONE, credentials=ADA, apop=True)


def test_a_password_that_cannot_be_written_is_not_half_sent() -> None:
    script = Script(HELLO, "-ERR")
    with pytest.raises(GrammarError):
        open_with(script, tls=IMPLICIT, credentials=Credentials("ada", "pässword"))
    assert script.heard == ["CAPA"]
    script = Script(HELLO, "-ERR")
    with pytest.raises(AuthenticationError, match="authorization identity"):
        open_with(script, tls=IMPLICIT, credentials=Credentials("ada", "x", "bob"))
    assert script.heard == ["CAPA"]


def test_a_mechanism_that_does_not_want_to_go_on_cancels() -> None:
    script = Script(HELLO, "+OK|SASL LOGIN|.", "+ ", "+ ", "+ ", "-ERR cancelled")
    with pytest.raises(AuthenticationError):
        open_with(script, tls=IMPLICIT, credentials=ADA)
    assert script.heard[1:] == ["AUTH LOGIN", "YWRh", "c2VjcmV0", "*"]


def test_credentials_that_a_mechanism_cannot_write_cancel_the_exchange() -> None:
    script = Script(HELLO, "+OK|SASL LOGIN|.", "+ ", "+ ", "-ERR cancelled")
    with pytest.raises(GrammarError):
        open_with(script, tls=IMPLICIT, credentials=Credentials("ada", "\ud800"))
    assert script.heard[1:] == ["AUTH LOGIN", "YWRh", "*"]


def test_capabilities_that_differ_by_user_are_asked_again() -> None:
    script = Script(HELLO, "+OK|SASL PLAIN|EXPIRE 5 USER|.", "+OK", "+OK|SASL PLAIN|EXPIRE 30|.")
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    assert script.heard[-1] == "CAPA"
    assert conn.capabilities is not None
    assert conn.capabilities.expire == 30


def test_a_refused_session() -> None:
    with pytest.raises(ResponseError) as caught:
        open_with(Script("-ERR [SYS/TEMP] busy"), tls=NONE)
    assert (caught.value.command, caught.value.temporary) == ("greeting", True)


def test_a_server_that_leaves_between_commands() -> None:
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK\r\n")
    conn.next_event()
    conn.receive_eof()
    runner = Runner(conn, next_chunk(conn))
    runner.run()
    assert str(runner.error) == "the connection is closed"


@pytest.mark.parametrize("answers", [[""], [HELLO, ""], [HELLO, PLAIN, ""]])
def test_a_server_that_hangs_up(answers: list[str]) -> None:
    script = Script(*answers)
    conn = POP3ClientConnection()
    if answers == [""]:
        conn.receive_eof()
    with pytest.raises(ConnectionClosedError):
        run(script, conn, open_session(conn, SessionOptions(tls=IMPLICIT, credentials=ADA)))


# The maildrop.


def test_listing_by_list_and_uidl_together() -> None:
    script, conn = logged_in("+OK|1 120|2 200|4 9|.", "+OK|1 a|2 b|5 c|.")
    assert run(script, conn, listing(conn)) == [
        MessageListing(1, 120, "a"),
        MessageListing(2, 200, "b"),
        MessageListing(4, 9, None),
    ]
    assert script.heard == ["LIST", "UIDL"]


def test_listing_of_a_server_without_unique_ids() -> None:
    script, conn = logged_in("+OK|1 120|.", "-ERR what?")
    assert run(script, conn, listing(conn)) == [MessageListing(1, 120, None)]


def test_listing_of_a_server_that_does_not_tell_of_its_unique_ids() -> None:
    """Or only behind the login, against RFC 2449 section 6.8."""
    script = Script(HELLO, "+OK|SASL PLAIN|.", "+OK", "+OK|1 120|.", "+OK|1 a|.")
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    assert run(script, conn, listing(conn)) == [MessageListing(1, 120, "a")]


def test_a_failed_listing_leaves_the_connection_in_step() -> None:
    script, conn = logged_in("-ERR [SYS/TEMP] broken", "+OK|1 a|.", "+OK 1 2")
    with pytest.raises(ResponseError):
        run(script, conn, listing(conn))
    assert conn.idle
    assert run(script, conn, request(conn, conn.stat())) == Stat(1, 2)


def test_a_message_in_pieces() -> None:
    script, conn = logged_in("+OK 4 octets|..a|.", "+OK|A: b||.", "-ERR no such message")

    def fetch(lines: int | None) -> Flow[bytes]:
        yield from begin_retrieve(conn, 1, lines)
        content = b""
        while (chunk := (yield from next_chunk(conn))) is not None:
            content += chunk
        return content

    assert run(script, conn, fetch(None)) == b".a\r\n"
    assert run(script, conn, fetch(0)) == b"A: b\r\n\r\n"
    with pytest.raises(ResponseError):
        run(script, conn, fetch(None))
    assert script.heard == ["RETR 1", "TOP 1 0", "RETR 1"]


def test_delete_and_quit() -> None:
    script, conn = logged_in("+OK", "-ERR no such message", "+OK")
    run(script, conn, delete(conn, 1))
    with pytest.raises(ResponseError):
        run(script, conn, delete(conn, 2))
    run(script, conn, quit_session(conn))
    assert script.heard == ["DELE 1", "DELE 2", "QUIT"]
    assert conn.closing


@pytest.mark.parametrize(
    ("answer", "error"), [("-ERR some deleted messages not removed", ResponseError), ("", ConnectionClosedError)]
)
def test_a_quit_that_fails_is_told(answer: str, error: type[Exception]) -> None:
    script, conn = logged_in(answer)
    with pytest.raises(error):
        run(script, conn, quit_session(conn))


def test_a_line_that_ends_anywhere_with_the_last_octets_is_a_closed_connection() -> None:
    """The end of input may come together with data, so that a flow learns of it when it has more to ask."""
    cut, ended = 0, None
    while ended is None or ended.error is not None:
        fetched = [*given("one"), "+OK", *given("two", first=2), "+OK", "+OK"]
        script = Script(PLAIN, "+OK", "+OK|1 9|2 9|.", "+OK|1 a|2 b|.", *fetched)
        ended = Runner(conn := POP3ClientConnection(), _whole_session(conn))
        left = cut
        heard = f"{HELLO}\r\n".encode("ascii")
        while heard:
            conn.receive_data(heard[:left])
            left -= len(heard)
            if left <= 0:
                conn.receive_eof()
            ended.run()
            heard = script.answer(ended.take())
            assert not heard or left > 0, "a command to who is known to be gone"
        assert ended.done
        assert ended.error is None or isinstance(ended.error, ConnectionClosedError), f"cut behind {cut} octets"
        cut += 1
    assert ended.result == {1: b"one\r\n", 2: b"two\r\n"}
    assert cut > 100


def _whole_session(conn: POP3ClientConnection) -> Flow[dict[int, bytes]]:
    yield from open_session(conn, SessionOptions(tls=NONE, credentials=ADA, allow_plaintext_auth=True))
    found = yield from collect(Fetch(conn, (yield from listing(conn))), deleting=True)
    yield from quit_session(conn)
    return found


# Fetching many.

TEN = [MessageListing(number, 100) for number in range(1, 11)]


def collect(fetch: Fetch, *, deleting: bool = False, stop: int = 99) -> Flow[dict[int, bytes]]:
    """Read all messages, as an adapter does."""
    contents: dict[int, bytes] = {}
    while len(contents) < stop and (message := (yield from fetch.next_message())) is not None:
        content = b""
        while (chunk := (yield from fetch.next_chunk())) is not None:
            content += chunk
        contents[message.number] = content
        if deleting:
            fetch.delete(message.number)
    return contents


def given(*contents: str, first: int = 1) -> list[str]:
    """Return the answers to RETR and LIST of messages."""
    numbered = enumerate(contents, first)
    return [answer for number, text in numbered for answer in (f"+OK|{text}|.", f"+OK {number} 9")]


def answers_for(messages: list[MessageListing]) -> list[str]:
    return given(*(f"message {message.number}" for message in messages))


@pytest.mark.parametrize(("size", "window", "ahead"), [(100, 4, 4), (600_000, 16, 1), (300_000, 16, 3)])
def test_a_fetch_asks_ahead_but_not_too_far(size: int, window: int, ahead: int) -> None:
    """And not before the server has shown that it can tell whose an answer is."""
    script, conn = logged_in(*given("m"))
    fetch = Fetch(conn, [MessageListing(number, size) for number in range(1, 11)], window=window)
    runner = Runner(conn, collect(fetch))
    runner.run()
    asked = runner.take()
    assert asked == b"RETR 1\r\nLIST 1\r\n"
    conn.receive_data(script.answer(asked))
    runner.run()
    assert runner.take() == b"".join(b"RETR %d\r\nLIST %d\r\n" % (number, number) for number in range(2, 2 + ahead))


def test_a_fetch_asks_for_more_when_half_has_come_and_not_each_time() -> None:
    script, conn = logged_in(*answers_for(TEN))
    fetch = Fetch(conn, TEN, window=4)
    asked: list[int] = []
    for _ in TEN:
        runner = Runner(conn, collect(fetch, stop=1))
        runner.run()
        while said := runner.take():
            conn.receive_data(script.answer(said))
            runner.run()
        assert list(runner.result) == [len(asked) + 1]
        asked.append(len([line for line in script.heard if line.startswith("RETR")]))
    assert asked == [1, 5, 5, 7, 7, 9, 9, 10, 10, 10]


def test_a_fetch_of_all() -> None:
    script, conn = logged_in(*answers_for(TEN))
    contents = run(script, conn, collect(Fetch(conn, TEN, window=3)))
    assert contents == {number: b"message %d\r\n" % number for number in range(1, 11)}
    assert conn.idle


def test_a_fetch_without_pipelining_asks_for_nothing_else() -> None:
    """There are old servers that answer LIST with a number in a way that nobody understands."""
    ten = [MessageListing(number, 3) for number in range(1, 11)]
    script = Script(HELLO, "+OK|SASL PLAIN|.", "+OK", *["+OK|m|."] * 10)
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    contents = run(script, conn, collect(Fetch(conn, ten)))
    assert list(contents) == list(range(1, 11))
    assert script.heard[-10:] == [f"RETR {number}" for number in range(1, 11)]


def test_a_message_may_be_deleted_before_it_is_read() -> None:
    """It has to be listed before, if it is to be."""
    script = Script(HELLO, "+OK|SASL PLAIN|.", "+OK", *given("m"), "+OK|odd|.", "+OK 2 9", "+OK")
    conn = open_with(script, tls=IMPLICIT, credentials=ADA)
    fetch = Fetch(conn, TEN[:2])

    def delete_second() -> Flow[None]:
        yield from fetch.next_message()
        yield from fetch.next_message()
        fetch.delete(2)
        yield from fetch.finish()

    run(script, conn, delete_second())
    assert script.heard[-3:] == ["RETR 2", "LIST 2", "DELE 2"]


def test_deletions_go_between() -> None:
    script, conn = logged_in(*given("m"), "+OK", *given("m", "m", "m", first=2), "+OK", "+OK", "+OK")
    four = TEN[:4]
    contents = run(script, conn, collect(Fetch(conn, four, window=3), deleting=True))
    assert list(contents) == [1, 2, 3, 4]
    heard = [line for line in script.heard if not line.startswith("LIST")]
    assert heard == ["RETR 1", "DELE 1", "RETR 2", "RETR 3", "RETR 4", "DELE 2", "DELE 3", "DELE 4"]
    assert conn.idle


def test_a_refused_deletion_is_told() -> None:
    script, conn = logged_in(*given("m"), "-ERR gone")
    with pytest.raises(ResponseError) as caught:
        run(script, conn, collect(Fetch(conn, TEN[:1]), deleting=True))
    assert caught.value.command == "DELE"
    assert conn.idle


def test_a_refused_deletion_is_told_as_soon_as_it_is_known() -> None:
    script, conn = logged_in(*given("m"), "-ERR gone", *given("m", "m", first=2))
    fetch = Fetch(conn, TEN[:3], window=2)

    def read() -> Flow[list[int]]:
        seen = []
        try:
            while (message := (yield from fetch.next_message())) is not None:
                seen.append(message.number)
                fetch.delete(message.number)
        except ResponseError:
            return seen
        return []

    assert run(script, conn, read()) == [1]


def next_message(fetch: Fetch, refused: list[object]) -> Flow[MessageListing | None]:
    """Return the next message, having noted what was refused on the way to it."""
    while True:
        try:
            return (yield from fetch.next_message())
        except ResponseError as error:
            refused.append(error.command)


@pytest.mark.parametrize("behind", [["+OK 2 9"], ["-ERR gone"]], ids=["listed", "not listed"])
def test_a_message_that_is_gone_does_not_stop_the_rest(behind: list[str]) -> None:
    script, conn = logged_in(*given("m"), "-ERR gone", *behind, *given("m", first=3))
    fetch = Fetch(conn, TEN[:3])
    found: list[object] = []

    def read() -> Flow[None]:
        while (message := (yield from next_message(fetch, found))) is not None:
            found.append(message.number)

    run(script, conn, read())
    assert found == [1, "RETR", 3]
    assert conn.idle


@pytest.mark.parametrize("window", [1, 2])
def test_a_refused_deletion_costs_no_message(window: int) -> None:
    gone, three = ["-ERR gone", "-ERR gone"], given("three", first=3)
    between = [*three, *gone] if window == 2 else [*gone, *three]
    script, conn = logged_in(*given("one", "two"), *between, *given("four", first=4))
    fetch = Fetch(conn, TEN[:4], window=window)
    found: list[object] = []

    def read() -> Flow[None]:
        while (message := (yield from next_message(fetch, found))) is not None:
            found.append(((yield from fetch.next_chunk()), message.number))
            if message.number == 2:
                fetch.delete(2)
                fetch.delete(2)

    run(script, conn, read())
    refused = ["DELE", "DELE"]
    third = [(b"three\r\n", 3)]
    expected = [*refused, *third] if window == 1 else [*third, *refused]
    assert found == [(b"one\r\n", 1), (b"two\r\n", 2), *expected, (b"four\r\n", 4)]
    assert conn.idle


def test_leaving_off_reads_past_what_was_ordered_and_no_further() -> None:
    script, conn = logged_in(*answers_for(TEN[:4]), "+OK", "+OK 1 2")
    fetch = Fetch(conn, TEN, window=3)

    def read() -> Flow[None]:
        yield from fetch.next_message()
        yield from fetch.next_message()
        fetch.delete(1)
        yield from fetch.finish()
        assert (yield from fetch.next_chunk()) is None

    run(script, conn, read())
    assert script.heard == [f"{verb} {number}" for number in range(1, 5) for verb in ("RETR", "LIST")] + ["DELE 1"]
    assert conn.idle
    assert run(script, conn, request(conn, conn.stat())) == Stat(1, 2)


def test_leaving_off_before_anything_was_sent_orders_nothing() -> None:
    script, conn = logged_in()
    fetch = Fetch(conn, TEN, window=3)
    fetch._ask()
    run(script, conn, fetch.finish())
    assert script.heard == []
    assert run(script, conn, fetch.next_message()) is None


def test_a_connection_that_ends_in_the_middle_of_a_message() -> None:
    script, conn = logged_in("+OK|half", "")
    runner = Runner(conn, collect(Fetch(conn, TEN[:1])))
    runner.run()
    runner.conn.receive_data(script.answer(runner.take()))
    runner.run()
    conn.receive_eof()
    runner.run()
    assert isinstance(runner.error, ConnectionClosedError)
