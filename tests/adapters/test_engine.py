"""The engine by itself: no socket, no loop, and a clock that is told."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto._core.events import TLSInfo
from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto._core.limits import Limits
from mailproto._flows.engine import HIGH_WATER, Engine
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError
from mailproto.smtp import SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.flows.server import serve as smtp_serve
from tests.adapters import toy


class Rot13:
    """A session that shakes hands with one octet and turns letters."""

    def __init__(self) -> None:
        self.ended = False
        self._shaken = False
        self._came = b""
        self._said = b"H"

    def handshake(self) -> bool:
        if self._came and not self._shaken:
            if not self._came.startswith(b"h"):
                raise OSError("no hand")
            self._shaken = True
            self._came = self._came[1:]
        return self._shaken

    def info(self) -> TLSInfo:
        return TLSInfo("ROT13")

    def receive(self, data: bytes) -> None:
        self._came += data
        self.ended = self.ended or not data

    def read(self) -> bytes:
        came, self._came = self._came, b""
        return turn(came)

    def write(self, data: bytes) -> None:
        self._said += turn(data)

    def output(self) -> bytes:
        said, self._said = self._said, b""
        return said

    def close(self) -> None:
        self._said += b"."


def turn(data: bytes) -> bytes:
    return data.translate(bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz", b"nopqrstuvwxyzabcdefghijklm"))


def serving(handler: Any = None, limits: Limits | None = None, **settings: Any) -> Engine:
    engine = Engine(toy.ToyServer(limits), Rot13)
    conn = engine.conn
    assert isinstance(conn, toy.ToyServer)
    engine.begin(toy.serve(conn, handler, **settings), part=True)
    assert engine.step() is Want.READ
    return engine


def drain(engine: Engine) -> bytes:
    return engine.output()


# The beginning.


def test_a_handshake_that_the_peer_begins_before_the_flow() -> None:
    """A loop may bring its first octets before the flow has taken a step, and a client of TLS does not wait."""
    conn = SMTPServerConnection(SMTPServerConfig(hostname="mx.example"))
    engine = Engine(conn, Rot13)
    engine.receive(b"h" + turn(b"ehlo x\r\n"))
    engine.begin(smtp_serve(SMTPSession(conn), None, implicit_tls=True), part=True)
    assert engine.step() is Want.READ
    assert b"zk.rknzcyr" in engine.output(), "greeted, and in cipher"


# Time.


def test_a_deadline_moves_with_progress_and_not_with_octets() -> None:
    engine = serving(limits=Limits(data_timeout=10.0, min_data_rate=100))  # a block is 1000 octets
    engine.receive(b"PUT 5000\r\n")
    assert engine.step() is Want.READ
    assert engine.wait_from(100.0) == 110.0
    engine.wait_to(104.0)
    engine.receive(b"x" * 999)
    engine.step()
    assert engine.wait_from(104.0) == 110.0  # no block yet: the time runs on
    engine.wait_to(106.0)
    engine.receive(b"x")
    engine.step()
    assert engine.wait_from(106.0) == 116.0
    engine.wait_to(107.0)
    engine.receive(b"x" * 2500)
    engine.step()
    assert engine.wait_from(107.0) == 117.0


def test_only_waiting_counts() -> None:
    engine = serving(limits=Limits(data_timeout=10.0))
    engine.receive(b"PUT 5000\r\n")
    engine.step()
    assert engine.wait_from(100.0) == 110.0
    engine.wait_to(103.0)
    # Three seconds were waited; then the application took an hour.
    assert engine.wait_from(3700.0) == 3707.0


def test_the_time_for_a_command_is_not_that_for_a_message() -> None:
    engine = serving(limits=Limits(command_timeout=300.0, data_timeout=180.0))
    assert engine.wait_from(0.0) == 300.0
    engine.wait_to(0.0)
    engine.receive(b"PUT 5000\r\n")
    engine.step()
    assert engine.wait_from(0.0) == 180.0


def test_a_timeout_while_reading_is_the_connection_s_to_tell() -> None:
    engine = serving()
    drain(engine)
    assert engine.receive_timeout() is None
    engine.step()
    assert drain(engine) == b"-too slow\r\n"


def test_a_timeout_while_writing_is_thrown() -> None:
    def write(conn: toy.ToyServer) -> Flow[None]:
        conn._send(b"x")
        yield Want.FLUSH

    conn = toy.ToyServer(Limits(command_timeout=7.0))
    engine = Engine(conn)
    engine.begin(write(conn), part=True)
    assert engine.step() is Want.FLUSH
    assert engine.wait_from(100.0) == 107.0
    engine.wait_to(103.0)
    assert not engine.lost
    error = engine.receive_timeout()
    assert engine.lost
    assert isinstance(error, ConnectionTimeoutError)
    with pytest.raises(ConnectionTimeoutError):
        engine.step(thrown=error)
    assert engine.output() == b""


def test_a_pause_takes_its_time_and_nothing_from_the_peer_s() -> None:
    def pause(conn: toy.ToyServer) -> Flow[str]:
        yield Sleep(2.5)
        yield Want.READ
        return "rested"

    conn = toy.ToyServer(Limits(command_timeout=7.0))
    engine = Engine(conn)
    engine.begin(pause(conn))
    assert engine.step() == Sleep(2.5)
    assert engine.wait_from(100.0) == 102.5
    engine.wait_to(102.5)
    assert engine.step(thrown=engine.receive_timeout()) is Want.READ
    assert engine.wait_from(102.5) == 109.5
    engine.step()
    assert (engine.result, engine.lost) == ("rested", False)


def test_the_handshake_has_a_time_of_its_own() -> None:
    engine = serving(limits=Limits(handshake_timeout=5.0, command_timeout=60.0))
    engine.receive(b"TLS\r\n")
    assert engine.step() is Want.READ
    assert engine.wait_from(0.0) == 5.0
    engine.wait_to(2.0)
    assert engine.wait_from(2.0) == 5.0
    engine.wait_to(3.0)
    engine.receive(b"h")
    assert engine.step() is Want.READ
    assert engine.wait_from(3.0) == 63.0


# Flows.


def test_much_output_is_flushed_before_the_application_is_called() -> None:
    def flow(conn: toy.ToyServer) -> Flow[str]:
        conn._send(b"x" * HIGH_WATER)
        yield Call(str)
        conn._send(b"x")
        said: str = yield Call(str)
        return said

    conn = toy.ToyServer()
    engine = Engine(conn)
    engine.begin(flow(conn), part=True)
    assert engine.step() == Call(str)
    assert engine.step("") is Want.FLUSH
    assert engine.step() == Call(str)
    assert engine.step("done") is None
    assert engine.result == "done"


def test_a_flow_that_reads_on_behind_the_end_is_told_so() -> None:
    def read_for_ever() -> Flow[None]:
        while True:
            yield Want.READ

    engine = Engine(toy.ToyServer())
    engine.begin(read_for_ever(), part=True)
    assert engine.step() is Want.READ
    engine.receive(b"")
    with pytest.raises(ConnectionClosedError):
        engine.step()


def test_what_a_closing_connection_says_is_flushed() -> None:
    engine = serving()
    engine.receive(b"BYE\r\n")
    assert engine.step() is Want.FLUSH
    assert drain(engine) == b"+ok\r\n+bye\r\n"
    assert engine.step() is None


def test_a_shutdown_waits_until_the_flow_waits() -> None:
    class Ask:
        def on_line(self, event: toy.Line) -> None: ...

    engine = serving(Ask())
    engine.receive(b"one\r\n")
    assert isinstance(engine.step(), Call)
    engine.shut_down()
    assert not engine.conn.closing
    assert engine.step("two") is Want.FLUSH
    assert drain(engine) == b"+ok\r\n+two\r\n-shutting down\r\n"


def test_nothing_runs_on_a_connection_that_was_broken_off() -> None:
    engine = serving()
    engine.break_off()
    assert engine.broken
    assert engine.output() == b""
    with pytest.raises(ConnectionClosedError):
        engine.begin(toy.nap(1.0))
    with pytest.raises(LocalProtocolError):
        engine.step()


def test_a_job_that_does_not_leave_the_connection_idle_breaks_it_off() -> None:
    def forget(conn: toy.ToyClient) -> Flow[None]:
        conn.say("something")
        return
        yield

    conn = toy.ToyClient()
    engine = Engine(conn)
    engine.begin(forget(conn), part=True)
    assert engine.step() is None
    assert not engine.broken
    engine.begin(forget(conn))
    assert engine.step() is None
    assert engine.broken


def test_a_keyboard_interrupt_breaks_off_even_what_is_idle() -> None:
    def interrupted() -> Flow[None]:
        raise KeyboardInterrupt
        yield

    engine = Engine(toy.ToyClient())
    engine.begin(interrupted())
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert engine.broken


# TLS.


def test_the_go_ahead_leaves_in_clear_and_nothing_else_does() -> None:
    engine = serving()
    drain(engine)
    engine.receive(b"TLS\r\n")
    engine.step()
    assert drain(engine) == b"+ok\r\nH"
    engine.receive(b"h" + turn(b"hello\r\n"))  # the first words came with the handshake
    assert engine.step() is Want.READ
    assert engine.conn.tls == TLSInfo("ROT13")
    assert drain(engine) == turn(b"+ok\r\n")
    engine.close_tls()
    assert drain(engine) == b"."


def behind_a_message() -> tuple[Engine, SMTPServerConnection]:
    """Return a server that has accepted a message and a STARTTLS, and said nothing of it yet."""

    class TakesAll:
        def on_rcpt(self, *_: object) -> None: ...

        def on_message(self, *_: object) -> None: ...

    conn = SMTPServerConnection(SMTPServerConfig(starttls=True))
    engine = Engine(conn, Rot13)
    engine.begin(smtp_serve(SMTPSession(conn), TakesAll()), part=True)
    engine.receive(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nSTARTTLS\r\n")
    value = None
    while isinstance(wish := engine.step(value), Call):
        value = wish.function(*wish.arguments)
    assert wish is Want.READ
    return engine, conn


def test_an_answer_before_the_go_ahead_that_does_not_leave_is_lost() -> None:
    engine, conn = behind_a_message()
    engine.lose()
    assert len(conn.replies_lost) == 1


def test_an_answer_before_the_go_ahead_that_leaves_is_not_lost() -> None:
    engine, conn = behind_a_message()
    said = drain(engine)
    assert b"\r\n250 2.0.0 " in said
    assert said.endswith(b"\r\nH")
    engine.lose()
    assert not conn.replies_lost


@pytest.mark.parametrize("heard", [b"", b"no"])
@pytest.mark.parametrize("leaves", [True, False])
def test_an_answer_before_the_go_ahead_survives_a_handshake_that_fails(heard: bytes, leaves: bool) -> None:
    engine, conn = behind_a_message()
    engine.receive(heard)
    assert engine.step() is Want.FLUSH
    if leaves:
        assert b"\r\n250 2.0.0 " in drain(engine)
    engine.lose()
    while (wish := engine.step()) is not None:
        assert wish is Want.FLUSH
    assert len(conn.replies_lost) == (not leaves)


def test_a_handshake_that_fails_leaves_the_connection_deaf() -> None:
    engine = serving()
    engine.receive(b"TLS\r\n")
    engine.step()
    drain(engine)
    engine.receive(b"hello\r\n"[1:])
    assert engine.step() is Want.FLUSH  # of what TLS may have to say about it
    with pytest.raises(OSError, match="no hand"):
        engine.step()
    engine.receive(b"BYE\r\n")
    assert engine.ended
    assert drain(engine) == b""
    assert engine.conn.tls is None


def test_the_end_of_the_network_during_a_handshake() -> None:
    engine = serving()
    engine.receive(b"TLS\r\n")
    engine.step()
    engine.receive(b"")
    with pytest.raises(ConnectionClosedError):
        engine.step()


def test_what_comes_behind_the_end_is_nothing() -> None:
    engine = serving()
    engine.receive(b"")
    engine.receive(b"hello\r\n")
    assert engine.step() is Want.FLUSH
    assert drain(engine) == b"+ok\r\n"
    assert engine.step() is None
    assert engine.ended
