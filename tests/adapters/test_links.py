"""What holds for a connection on either adapter."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mailproto._core.flow import Flow
from mailproto._core.limits import Limits
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError, Reject
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, Aio, Gate, Sync, Wire, at_best, scripted, wait_until
from tests.adapters.toy import Echo

Adapter = Aio | Sync


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def linger(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have a side wait so long for the peer's end behind its own."""
    for module in ("aio", "sync"):
        monkeypatch.setattr(f"mailproto.{module}.link.LINGER", seconds)


def small_pair() -> tuple[socket.socket, Wire]:
    """Return two ends between which the system keeps little."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ours, Wire(theirs)


# Flows.


def test_both_sides_talk(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    assert client.run(toy.greet(client.conn)) == "+ok"
    assert client.run(toy.ask(client.conn, "one", "two", "three")) == ["+one", "+two", "+three"]
    assert client.run(toy.ask(client.conn, "BYE")) == ["+bye"]
    with pytest.raises(LocalProtocolError):
        client.run(toy.ask(client.conn, "more"))


def test_a_large_message_goes_up_and_a_large_answer_comes_down(adapter: Adapter) -> None:
    server = adapter.serve(toy.Large())
    client = adapter.connect(server.port)
    client.run(toy.greet(client.conn))
    pieces = [b"x" * 50_000] * 100
    assert client.run(toy.put(client.conn, 5_000_000, pieces)) == "+stored 5000000"
    line = "y" * 100
    assert client.run(toy.ask(client.conn, *[line] * 50)) == ["+" + line * 900] * 50


def test_a_call_gets_its_result_and_its_exception_is_thrown(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    client.run(toy.greet(client.conn))
    pieces = iter([b"a" * 70_000, b"b" * 70_000, b""])
    assert client.run(toy.put_called(client.conn, 140_000, lambda: next(pieces))) == "+stored 140000"

    def fail() -> bytes:
        raise OverflowError("the source failed")

    with pytest.raises(OverflowError, match="the source failed"):
        client.run(toy.put_called(client.conn, 10, fail))


def test_a_nap_ends(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    assert client.run(toy.nap(0.01)) == "rested"


def test_one_operation_at_a_time(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    client.run(toy.greet(client.conn))
    pieces = iter([b"0123456789", b""])

    def source() -> bytes:
        with pytest.raises(LocalProtocolError, match="one at a time"):
            client.run_inside(toy.ask(client.conn, "intruder"))
        return next(pieces)

    assert client.run(toy.put_called(client.conn, 10, source)) == "+stored 10"
    assert "intruder" not in server.conns[0].lines


def test_a_job_that_leaves_replies_behind_closes_the_connection(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"PUT 100000"
        wire.send(b"+yesterday's reply\r\n")
        assert b"hello" not in wire.rest()

    pieces = iter([b"x" * 70_000])  # enough to be sent at once, and then the source fails
    with scripted(script) as port:
        client = adapter.connect(port)
        client.run(toy.greet(client.conn))
        with pytest.raises((StopIteration, RuntimeError)):
            client.run(toy.put_called(client.conn, 100_000, lambda: next(pieces)))
        with pytest.raises(ConnectionClosedError):
            client.run(toy.ask(client.conn, "hello"))


def test_what_was_wrong_before_anything_was_said_leaves_the_connection_usable(adapter: Adapter) -> None:
    def refuse(conn: toy.ToyClient) -> Flow[None]:
        raise LocalProtocolError("not like that")
        yield

    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    client.run(toy.greet(client.conn))
    with pytest.raises(LocalProtocolError, match="not like that"):
        client.run(refuse(client.conn))
    assert client.run(toy.ask(client.conn, "hello")) == ["+hello"]


# The end of input.


def test_the_peer_hangs_up(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"one"
        wire.send(b"+one\r\n+hal")

    with scripted(script) as port:
        client = adapter.connect(port)
        client.run(toy.greet(client.conn))
        with pytest.raises(ConnectionClosedError) as caught:
            client.run(toy.ask(client.conn, "one", "two"))
        assert caught.value.last_words == "+one"
        with pytest.raises((ConnectionClosedError, LocalProtocolError)):
            client.run(toy.ask(client.conn, "three"))


def test_what_the_peer_said_last_is_seen_after_a_write_error(adapter: Adapter) -> None:
    gone = threading.Event()

    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"PUT 1000000"
        wire.send(b"-enough of you\r\n")
        reset(wire.sock)
        gone.set()

    def source() -> Iterator[bytes]:
        yield b"x" * 100_000  # makes the line go out
        assert gone.wait(PATIENCE)
        for _ in range(9):
            yield b"x" * 100_000

    with scripted(script) as port:
        client = adapter.connect(port)
        client.run(toy.greet(client.conn))
        assert client.run(toy.put(client.conn, 1_000_000, source())) == "-enough of you"
        with pytest.raises((ConnectionClosedError, LocalProtocolError)):
            client.run(toy.ask(client.conn, "hello"))


def test_a_client_that_is_done_talking_is_answered(adapter: Adapter) -> None:
    gate = Gate(adapter)

    class Slow:
        def on_line(self, event: toy.Line) -> Any:
            return gate.wait()

        def on_end(self) -> None:
            ended.set()

    ended = threading.Event()
    server = adapter.serve(Slow())
    with Wire.to(server.port) as wire:
        wire.send(b"store this\r\n")
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.line() == b"+ok"
        gate.wait_reached()
        if isinstance(adapter, Aio):
            wait_until(lambda: server.conns[0]._eof)
        assert not ended.is_set()
        gate.open()
        assert wire.rest() == b"+True\r\n"
        assert ended.wait(PATIENCE)


def test_a_client_that_vanishes_cancels_no_hook(adapter: Adapter) -> None:
    gate = Gate(adapter)
    finished = threading.Event()

    class Slow:
        def on_line(self, event: toy.Line) -> Any:
            return gate.wait()

        def on_end(self) -> None:
            finished.set()

    server = adapter.serve(Slow())
    wire = Wire.to(server.port)
    wire.send(b"store this\r\n")
    gate.wait_reached()
    reset(wire.sock)
    assert not finished.wait(0.05)
    gate.open()
    assert finished.wait(PATIENCE)
    assert server.conns[0].pending is None


def test_half_a_line_at_the_end_is_no_line(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    with Wire.to(server.port) as wire:
        wire.send(b"whole\r\nhalf")
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.rest() == b"+ok\r\n+whole\r\n"
    assert server.conns[0].lines == ["whole"]


# Hooks.


def test_a_hook_that_fails_is_answered_and_says_nothing_of_itself(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty:
        def on_line(self, event: toy.Line) -> str:
            if event.text == "refuse":
                raise Reject(550, "not you")
            if event.text == "fail":
                raise OverflowError("secret detail")
            return event.text

    server = adapter.serve(Faulty())
    with Wire.to(server.port) as wire, Wire.to(server.port) as other:
        wire.send(b"refuse\r\nfail\r\ngo on\r\n")
        answers = [wire.line() for _ in range(4)]
        assert answers == [b"+ok", b"-not you", b"-Internal error, try again later", b"+go on"]
        other.send(b"hello\r\n")
        assert [other.line(), other.line()] == [b"+ok", b"+hello"]
    assert "secret detail" in caplog.text


def test_a_session_that_fails_touches_no_other(adapter: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        @property
        def on_greeting(self) -> Any:
            raise OverflowError("cannot even be asked")

    server = adapter.serve(Faulty())
    with Wire.to(server.port) as wire:
        assert wire.rest() == b""
    with Wire.to(server.port) as wire:
        assert wire.rest() == b""
    wait_until(lambda: [record.levelname for record in caplog.records] == ["ERROR", "ERROR"])


# Time.


def test_a_server_that_says_nothing(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"hello"
        assert wire.rest() == b""

    with scripted(script) as port:
        client = adapter.connect(port)
        client.run(toy.greet(client.conn))
        client.conn.limits = Limits(command_timeout=0.1)
        with pytest.raises(ConnectionTimeoutError):
            client.run(toy.ask(client.conn, "hello"))
        with pytest.raises((ConnectionClosedError, LocalProtocolError)):
            client.run(toy.ask(client.conn, "hello"))


def test_a_server_that_says_nothing_is_not_waited_for_any_longer(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no last word of ours that it should be given the time to take."""
    linger(monkeypatch, 2 * PATIENCE)

    def script(wire: Wire) -> None:
        over.wait(PATIENCE)

    over = threading.Event()
    with scripted(script) as port:
        begun = time.monotonic()
        client = adapter.connect(port, Limits(command_timeout=0.1))
        with pytest.raises(ConnectionTimeoutError):
            client.run(toy.ask(client.conn, "hello"))
        client.close()
        over.set()
        assert time.monotonic() - begun < PATIENCE


def test_a_client_that_says_nothing_is_told_so(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), limits=Limits(command_timeout=0.1))
    with Wire.to(server.port) as wire:
        assert wire.rest() == b"+ok\r\n-too slow\r\n"


def test_who_is_still_talking_is_not_cut_off_before_it_has_read_why(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes at a socket that is closed is answered with a reset, which destroys what was not read."""
    linger(monkeypatch, PATIENCE)
    server = adapter.serve(Echo(), limits=Limits(command_timeout=0.1))
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        time.sleep(0.2)
        for _ in range(4):
            wire.send(b"x")
            time.sleep(0.05)
        assert wire.rest() == b"-too slow\r\n"


def test_octet_after_octet_does_not_win_time(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    linger(monkeypatch, PATIENCE)
    server = adapter.serve(Echo(), limits=Limits(data_timeout=0.2, min_data_rate=10_000))
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"PUT 1000\r\n")
        begun = time.monotonic()
        wire.sock.settimeout(0.02)
        answer = b""
        while not answer and time.monotonic() < begun + PATIENCE:
            wire.send(b"x")
            try:
                answer = wire.sock.recv(100)
            except TimeoutError:
                continue
        assert answer == b"-too slow\r\n"


def test_a_slow_hook_takes_nothing_from_the_time_of_the_peer(adapter: Adapter) -> None:
    gate = Gate(adapter)

    class Slow(Echo):
        def on_line(self, event: toy.Line) -> Any:
            return gate.wait() if event.text == "slow" else event.text

    server = adapter.serve(Slow(), limits=Limits(command_timeout=1.5))
    with Wire.to(server.port) as wire:
        wire.send(b"slow\r\n")
        gate.wait_reached()
        time.sleep(1.6)
        gate.open()
        assert [wire.line(), wire.line()] == [b"+ok", b"+True"]
        wire.send(b"hello\r\n")
        assert wire.line() == b"+hello"


# Back-pressure.


def test_a_client_that_does_not_read_is_bounded(adapter: Adapter) -> None:
    class Large(Echo):
        asked = 0

        def on_line(self, event: toy.Line) -> str:
            Large.asked += 1
            return "x" * 10_000

    server = adapter.serve(Large())
    with Wire.to(server.port) as wire:
        wire.sock.settimeout(0.2)
        sent = 0
        with pytest.raises(OSError):  # no room any more
            while True:
                sent += wire.sock.send(b"?\r\n" * 10_000)
        assert sent > 30_000
        with Wire.to(server.port) as other:
            other.send(b"hello\r\n")  # others are served all the same
            assert other.line() == b"+ok"
            assert len(other.line()) == 10_001
        conn = server.conns[0]
        assert conn.queued <= conn.limits.max_unsent + 20_000
        assert Large.asked * 10_000 < 30 << 20


def test_a_client_that_does_not_read_is_dropped(adapter: Adapter) -> None:
    server = adapter.serve(toy.Large(), limits=Limits(command_timeout=0.5))
    with Wire.to(server.port) as wire:
        wire.sock.settimeout(0.2)
        with pytest.raises(OSError):  # no room any more
            while True:
                wire.sock.send(b"0123456789\r\n" * 10_000)
        wait_until(lambda: server.listener.connections == 0)


def test_answers_that_nobody_reads_are_bounded_and_so_are_the_questions(adapter: Adapter) -> None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    server = adapter.serve(None, sock=listening)  # all is accepted, without a call
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(0.05)
        sent = 0
        while not server.conns or not server.conns[0].output_full:
            with suppress(TimeoutError):
                sent += sock.send(b"?\r\n" * 10_000)
            assert sent < 10 << 20
        conn = server.conns[0]
        assert conn.limits.max_unsent < conn.queued < conn.limits.max_unsent + 100
        assert len(conn._buffer) < 1 << 20


def greeted(adapter: Adapter, timeout: float) -> tuple[Any, Wire]:
    """Return a client that a server has greeted, and has so many seconds from now on, and the server's end."""
    ours, wire = small_pair()
    client = adapter.connect(sock=ours)
    wire.send(b"+ok\r\n")
    client.run(toy.greet(client.conn))
    client.conn.limits = Limits(command_timeout=timeout)
    return client, wire


def test_a_server_that_does_not_read(adapter: Adapter) -> None:
    client, wire = greeted(adapter, 0.1)
    with wire, pytest.raises(ConnectionTimeoutError):
        client.run(toy.put(client.conn, 1_000_000, [b"x" * 100_000] * 10))


def test_a_peer_that_reads_slowly_has_its_time_for_each_piece(adapter: Adapter) -> None:
    def read(wire: Wire) -> None:
        with suppress(OSError):
            assert wire.line() == b"PUT 2000000"
            left = 2_000_000 - len(wire.buffered)
            paced = 0
            while left and (data := wire.sock.recv(100_000)):
                left -= len(data)
                paced += len(data)
                if paced >= 200_000:
                    paced = 0
                    time.sleep(0.1)
            wire.send(b"+stored\r\n")

    def put() -> str:
        client, wire = greeted(adapter, 0.5)
        with wire:
            thread = threading.Thread(target=read, args=(wire,))
            thread.start()
            begun = time.monotonic()
            try:
                return str(client.run(toy.put(client.conn, 2_000_000, [b"x" * 2_000_000])))
            except ConnectionTimeoutError:
                return "late"
            finally:
                client.abort()
                thread.join(PATIENCE)
                assert time.monotonic() - begun > 0.5  # or this shows nothing

    assert at_best(put, "+stored".__eq__) == "+stored"


def test_two_sides_that_both_write_do_not_wait_for_each_other(adapter: Adapter) -> None:
    ours, wire = small_pair()
    answers = b"+" + b"y" * 998 + b"\r\n"

    def write_first() -> None:
        for _ in range(40):
            wire.send(answers)
        assert len(wire.line()) == 3000

    with wire:
        client = adapter.connect(sock=ours, limits=Limits(command_timeout=PATIENCE / 2))
        wire.send(b"+ok\r\n")
        client.run(toy.greet(client.conn))
        thread = threading.Thread(target=write_first)
        thread.start()
        assert len(client.run(toy.ask(client.conn, *["z" * 3000] * 40))) == 40
        thread.join(PATIENCE)


def test_a_side_that_only_writes_still_hears(adapter: Adapter) -> None:
    ours, wire = small_pair()
    early = b"+" + b"y" * 30_000

    def write_first() -> None:
        wire.send(early + b"\r\n")
        assert wire.line() == b"PUT 300000"
        left = 300_000 - len(wire.buffered)
        while left:
            left -= len(wire.sock.recv(65536))

    with wire:
        client = adapter.connect(sock=ours, limits=Limits(command_timeout=PATIENCE / 2))
        wire.send(b"+ok\r\n")
        client.run(toy.greet(client.conn))
        thread = threading.Thread(target=write_first)
        thread.start()
        assert client.run(toy.put(client.conn, 300_000, [b"z" * 100_000] * 3)) == early.decode()
        thread.join(PATIENCE)
        assert not thread.is_alive()
