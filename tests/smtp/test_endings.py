"""How a server's connection ends: told to, timed out, or left, in every state."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mailproto import sync
from mailproto.errors import LocalProtocolError
from mailproto.sasl import Auth
from mailproto.smtp import (
    ALL_EXTENSIONS,
    ConnectionClosed,
    Limits,
    MessageEnd,
    Reply,
    ServerState,
    SMTPServerConfig,
    SMTPServerConnection,
)
from mailproto.smtp.rules import VERBS
from tests.adapters.harness import Wire
from tests.helpers import accept_all, talk
from tests.smtp import EHLO, MAIL, RCPT, deliver, greeted, in_data, in_transaction, server


def pending(data: bytes) -> Callable[[], SMTPServerConnection]:
    def make() -> SMTPServerConnection:
        conn = greeted(starttls=True)
        if data.startswith(b"DATA"):
            talk(conn, [MAIL, RCPT])
        conn.receive_data(data)
        while conn.pending is None:
            assert conn.next_event() is not None
            if conn.pending is not None and data.endswith(b".\r\n") and not isinstance(conn.pending, MessageEnd):
                conn.accept()
        conn.data_to_send()
        return conn

    return make


def in_auth() -> SMTPServerConnection:
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    talk(conn, [b"AUTH PLAIN\r\n"], lambda conn, _: conn.challenge(b""))
    return conn


def in_chunks() -> SMTPServerConnection:
    conn = in_transaction()
    talk(conn, [b"BDAT 1\r\nx"])
    return conn


def behind(make: Callable[[], SMTPServerConnection], data: bytes) -> Callable[[], SMTPServerConnection]:
    def made() -> SMTPServerConnection:
        conn = make()
        talk(conn, [data])
        return conn

    return made


def greeting_pending() -> SMTPServerConnection:
    conn = server()
    conn.next_event()
    return conn


WAITING: dict[str, Callable[[], SMTPServerConnection]] = {
    "untouched": server,
    "greeted": behind(server, b"NOOP\r\n"),
    "ready": greeted,
    "half a line": behind(greeted, b"MAIL FR"),
    "in an endless line": behind(greeted, b"x" * 5000),
    "mail": behind(greeted, MAIL),
    "rcpt": in_transaction,
    "data": in_data,
    "half a message": behind(in_data, b"half\r\n."),
    "chunks": in_chunks,
    "half a chunk": behind(in_transaction, b"BDAT 10\r\nx"),
    "auth": in_auth,
}
PENDING: dict[str, Callable[[], SMTPServerConnection]] = {
    "greeting": greeting_pending,
    "hello": pending(EHLO),
    "mail": pending(MAIL),
    "data": pending(b"DATA\r\n"),
    "message": pending(b"DATA\r\nx\r\n.\r\n"),
    "vrfy": pending(b"VRFY x\r\n"),
    "starttls": pending(b"STARTTLS\r\n"),
}
BETWEEN = ("untouched", "greeted", "ready", "half a line", "in an endless line")


@pytest.mark.parametrize("name", [*WAITING, *(f"pending {name}" for name in PENDING)])
def test_timed_out(name: str) -> None:
    """S28: 421 4.4.2, whatever was under way, and it is not done."""
    conn = (PENDING[name.removeprefix("pending ")] if name.startswith("pending") else WAITING[name])()
    conn.receive_timeout()
    assert conn.closing
    assert conn.pending is None
    result = talk(conn, [])
    assert result.output == b"421 4.4.2 Timed out, good-bye\r\n"
    assert result.events == [ConnectionClosed(False, "timed out")]
    conn.receive_timeout()
    conn.receive_data(b"NOOP\r\n")
    assert talk(conn, []).events == []
    with pytest.raises(LocalProtocolError):
        conn.accept()
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("name", BETWEEN)
def test_shut_down_between_transactions(name: str) -> None:
    """RFC 5321 section 3.8: 421, and at once."""
    conn = WAITING[name]()
    conn.shut_down()
    result = talk(conn, [])
    assert result.output == b"421 4.3.2 Service not available, come again later\r\n"
    assert [type(event) for event in result.events] == [ConnectionClosed]
    assert conn.closing


@pytest.mark.parametrize("name", [name for name in WAITING if name not in BETWEEN])
def test_shut_down_waits_for_what_is_under_way(name: str) -> None:
    """S66: never in the middle of a message, nor of what leads to one."""
    conn = WAITING[name]()
    conn.shut_down()
    assert not conn.closing
    assert talk(conn, []).output == b""
    rest = {
        "mail": RCPT + b"DATA\r\nx\r\n.\r\n",
        "rcpt": b"DATA\r\nx\r\n.\r\n",
        "data": b"x\r\n.\r\n",
        "half a message": b"\r\n",
        "chunks": b"BDAT 2 LAST\r\n\r\n",
        "half a chunk": b"123456789BDAT 0 LAST\r\n",
        "auth": b"AGEAYg==\r\n",
    }[name]
    result = talk(conn, [rest + b"NOOP\r\n"])
    assert result.replies[-2:] == ([b"235", b"421"] if name == "auth" else [b"250", b"421"])
    assert conn.closing
    assert len(result.of(MessageEnd)) == (name != "auth")


@pytest.mark.parametrize("name", PENDING)
def test_shut_down_waits_for_an_answer(name: str) -> None:
    """And then for no further command: nobody may be about to send one."""
    conn = PENDING[name]()
    conn.shut_down()
    assert not conn.closing
    conn.reject() if name in ("mail", "starttls") else conn.accept()
    result = talk(conn, [])
    if name == "data":
        assert not conn.closing
        result = talk(conn, [b"x\r\n.\r\n"])
    assert result.replies[-1] == b"421"
    assert conn.closing


def test_shut_down_lets_a_transaction_be_taken_back() -> None:
    conn = in_transaction()
    conn.shut_down()
    result = talk(conn, [b"RSET\r\n"])
    assert result.replies == [b"250", b"421"]
    assert conn.closing


def test_a_refused_message_is_the_end_as_well() -> None:
    conn = in_data(max_message_size=5)
    conn.shut_down()
    assert talk(conn, [b"123456\r\n.\r\n"]).replies == [b"552", b"421"]


def test_shut_down_twice() -> None:
    conn = greeted()
    conn.shut_down()
    conn.shut_down()
    assert talk(conn, []).replies == [b"421"]


@pytest.mark.parametrize("name", [*WAITING, *(f"pending {name}" for name in PENDING)])
def test_closed_here(name: str) -> None:
    conn = (PENDING[name.removeprefix("pending ")] if name.startswith("pending") else WAITING[name])()
    conn.close(Reply.build(421, "Too many clients", "4.3.2"))
    conn.close()
    result = talk(conn, [])
    assert result.output == b"421 4.3.2 Too many clients\r\n"
    assert result.events == [ConnectionClosed(False, "closed by the server")]


@pytest.mark.parametrize("name", WAITING)
def test_the_client_leaves(name: str) -> None:
    conn = WAITING[name]()
    result = talk(conn, [], eof=True)
    (closed,) = result.of(ConnectionClosed)
    assert closed.clean is (name in ("greeted", "ready", "untouched"))
    assert not result.of(MessageEnd)
    assert conn.closing


def test_quit_is_the_end_whatever_comes_behind() -> None:
    conn = in_transaction()
    result = talk(conn, [b"QUIT\r\nMAIL FROM:<a@b>\r\n", b"NOOP\r\n"])
    assert result.replies == [b"221"]
    assert result.events == [ConnectionClosed(True)]
    assert conn.state is ServerState.CLOSED
    assert conn.envelope is None


def test_421_ends_the_connection_whoever_says_it() -> None:
    for data in (EHLO, MAIL, b"VRFY x\r\n", b"AUTH PLAIN AGEAYg==\r\n"):
        conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
        result = talk(conn, [data], lambda conn, _: conn.reject(421, "enough"))
        assert result.replies == [b"421"]
        assert conn.closing
    conn = server()
    result = talk(conn, [EHLO], lambda conn, _: conn.reject(421, "busy"))
    assert result.output == b"421 busy\r\n"
    conn = server()
    result = talk(conn, [EHLO], lambda conn, _: conn.reject(521, "no mail here"))
    assert result.output == b"521 no mail here\r\n"
    assert conn.closing


def test_waits() -> None:
    """RFC 5321 sections 4.5.3.2.5 and 4.5.3.2.7."""
    limits = Limits(command_timeout=11, data_timeout=7)
    conn = server(limits=limits)
    assert conn.timeout == 11
    conn = in_transaction(limits=limits)
    assert conn.timeout == 11
    talk(conn, [b"DATA\r\n"])
    assert conn.timeout == 7
    talk(conn, [b"x\r\n.\r\n"])
    assert conn.timeout == 11


def test_a_message_makes_progress_by_its_octets() -> None:
    """S28: a minimum rate, so that one octet a minute is not enough."""
    limits = Limits(min_data_rate=10, data_timeout=10)
    conn = in_data(limits=limits)
    before = conn.progress
    for _ in range(99):
        talk(conn, [b"x"])
    assert conn.progress == before
    talk(conn, [b"x" * 2])
    assert conn.progress == before + 1
    talk(conn, [b"x" * 1000])
    assert conn.progress == before + 2


def test_each_command_is_progress() -> None:
    conn = greeted()
    before = conn.progress
    talk(conn, [MAIL])
    assert conn.progress > before
    before = conn.progress
    talk(conn, [b"RC"])
    assert conn.progress == before


def test_who_goes_on_with_a_message_in_chunks_has_the_whole_time_for_each() -> None:
    """And behind it: what came before the line that announces a chunk, or before the answer, is none of it."""
    conn = in_transaction(max_message_size=4)
    for said in (b"BDAT 3\r\n", b"abc", b"BDAT 3\r\n", b"abc", b"BDAT 1 LAST\r\n", b"x"):
        before = conn.progress
        talk(conn, [said])
        assert conn.progress > before, said
    before = conn.progress
    talk(conn, [b"BDAT 9\r\n"])
    assert conn.progress > before, "a chunk for nobody"


def test_who_was_refused_a_message_has_the_whole_time_for_the_next_command() -> None:
    conn = in_data(max_message_size=4)
    talk(conn, [b"much too long\r\n"])
    before = conn.progress
    assert talk(conn, [b".\r\n"]).replies == [b"552"]
    assert conn.progress > before


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize(
    "said",
    [
        *(verb.encode() for verb in sorted(VERBS)),
        *(EHLO[:-2], MAIL[:-2], RCPT[:-2], b"XYZ", b"\xff", b"NOOP \xff", b"x" * 9999, b"BREW", b".", b"*"),
        *(
            b"BDAT 0",
            b"BDAT 0 LAST",
            b"BDAT 3\r\nabc",
            b"BDAT 3 LAST\r\na",
            b"BURL imap://h/x LAST",
            b"BURL imap://h/x",
        ),
    ],
)
@pytest.mark.parametrize("refused", [False, True])
def test_who_is_answered_has_the_whole_time_to_go_on(name: str, said: bytes, refused: bool) -> None:
    """In every state, whatever it was; and not by and by what is left of the time for something else."""
    conn = WAITING[name]()
    talk(conn, [])
    if refused:
        with suppress(LocalProtocolError):  # no message comes in
            conn.reject()
        talk(conn, [])
    before = conn.progress
    if talk(conn, [said + b"\r\n"]).output and not conn.closing:
        assert conn.progress > before


def test_the_banner_tells_no_more_than_it_must() -> None:
    """S89, RFC 5321 section 7.5."""
    output = talk(server(hostname="mx.example.org"), []).output
    assert output == b"220 mx.example.org ESMTP\r\n"
    output = talk(server(hostname="mx.example.org", greeting="at your service"), []).output
    assert output == b"220 mx.example.org at your service\r\n"


def test_the_reference_dialogue_of_the_docstring() -> None:
    """Default answers take no mail from anybody, and fall over nothing."""
    result = deliver(greeted(), b"x\r\n.\r\n", lambda conn, _: conn.answer_default())
    assert result.replies == [b"250", b"550", b"554", b"500", b"500"]
    assert deliver(greeted(), b"x\r\n.\r\n", accept_all).replies[-1] == b"250"


def test_nothing_can_be_answered_twice() -> None:
    conn = greeted()
    conn.receive_data(MAIL)
    conn.next_event()
    conn.accept()
    answers: list[Callable[[], None]] = [
        conn.accept,
        conn.reject,
        lambda: conn.reply(Reply(250, "x")),
        lambda: conn.challenge(b""),
    ]
    for answer in answers:
        with pytest.raises(LocalProtocolError):
            answer()
    assert conn.data_to_send() == b"250 2.1.0 Sender OK\r\n"


@pytest.mark.parametrize("code", [400, 499, 500, 599])
def test_no_is_no_by_any_number(code: int) -> None:
    conn = greeted()
    result = talk(conn, [MAIL], lambda conn, _: conn.reject(code))
    assert result.replies == [b"%d" % code]
    assert conn.envelope is None
    assert talk(conn, [RCPT]).replies == [b"503"]


@pytest.mark.parametrize("code", [199, 220, 600, 350])
def test_an_answer_of_another_class_is_none(code: int) -> None:
    conn = in_transaction()
    conn.receive_data(b"DATA\r\n")
    event: Any = conn.next_event()
    with pytest.raises(LocalProtocolError):
        conn.reply(Reply(code, "x"))
    assert conn.pending is event
    assert conn.data_to_send() == b""


def test_before_a_login_that_has_to_come_nothing_makes_the_wait_longer() -> None:
    """S28 and section 8 of SECURITY: a stranger has so much time in all. The count is what an adapter goes by."""
    limits = Limits(login_timeout=5, command_timeout=11, max_errors=99)
    settings: dict[str, Any] = {"allow_plaintext_auth": True, "auth_mechanisms": ("PLAIN",), "limits": limits}

    def ask(conn: Any, event: Any) -> None:
        if isinstance(event, Auth):
            conn.challenge(b"")
        else:
            accept_all(conn, event)

    conn = server(require_auth=True, **settings)
    talk(conn, [])
    assert (conn.progress, conn.timeout) == (1, 5)
    for line in (EHLO, b"NOOP", b"RSET", MAIL, b"XYZ", b"\xff", b"x" * 9999, b"VRFY ada", b"BDAT 5\r\n12345HELO x"):
        talk(conn, [line.removesuffix(b"\r\n") + b"\r\n"])
        assert conn.progress == 1, line
    talk(conn, [EHLO])
    for response in (b"*", b"?", b"x" * 20000):
        talk(conn, [b"AUTH PLAIN\r\n", response + b"\r\n"], ask)
    talk(conn, [b"AUTH PLAIN =\r\n"], lambda conn, _: conn.reject())
    assert (conn.progress, conn.timeout, conn.closing) == (1, 5, False)
    talk(conn, [b"AUTH PLAIN\r\n", b"YWRh\r\n"], ask)
    before = conn.progress
    assert (before > 1, conn.timeout) == (True, 11)
    talk(conn, [b"NOOP\r\n"])
    assert conn.progress == before + 1
    free = server(**settings)
    talk(free, [EHLO])
    assert (free.progress, free.timeout) == (2, 11)


@pytest.mark.parametrize("again", [b"STARTTLS\r\n", b"XCLIENT ADDR=192.0.2.7\r\n"])
def test_who_is_nobody_again_has_to_log_in_in_time_again(again: bytes) -> None:
    """RFC 3207 section 4.2: the login is forgotten, and a stranger may not stay for ever."""
    limits = Limits(login_timeout=5, command_timeout=11)
    conn = greeted(
        require_auth=True,
        allow_plaintext_auth=True,
        auth_mechanisms=("PLAIN",),
        starttls=True,
        extensions=ALL_EXTENSIONS,
        limits=limits,
    )
    conn.trusted = True
    talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"])
    assert (conn.authenticated, conn.timeout) == (True, 11)
    talk(conn, [again])
    if again.startswith(b"STARTTLS"):
        conn.tls_established()
    assert (conn.authenticated, conn.progress, conn.timeout) == (False, 1, 5)
    talk(conn, [EHLO, b"NOOP\r\n"])
    assert conn.progress == 1
    talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"])
    assert (conn.progress > 1, conn.timeout) == (True, 11)


def test_an_adapter_hangs_up_on_who_does_not_log_in_in_time() -> None:
    """Whoever says something now and then kept a connection for ever."""
    config = SMTPServerConfig(require_auth=True, allow_plaintext_auth=True, limits=Limits(login_timeout=0.3))

    class Guarded:
        def on_auth(self, session: Any, check: Any) -> bool:
            return True

    with sync.SMTPServer(Guarded(), port=0, config=config) as smtp_server, Wire.to(smtp_server.port) as wire:
        said = wire.line()
        while said[:3] in (b"220", b"250"):
            time.sleep(0.05)
            wire.send(b"NOOP\r\n")
            said = wire.line()
        assert said == b"421 4.4.2 Timed out, good-bye"
