"""What only blocking sockets have: interrupts, and results that would have to be awaited."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mailproto._core.limits import Limits
from mailproto._flows.engine import HIGH_WATER
from mailproto._flows.reading import read_event
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError
from mailproto.pop3.config import POP3ServerConfig
from mailproto.sync import POP3Server
from mailproto.sync.connect import open_link
from mailproto.sync.link import Link
from mailproto.sync.listener import Listener
from mailproto.sync.polling import SelectPoll
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, Wire, held_port, scripted, wait_until
from tests.adapters.toy import Echo


@contextmanager
def serving(handler: Any) -> Iterator[Listener]:
    def serve(link: Link) -> None:
        assert isinstance(link.conn, toy.ToyServer)
        link.run(toy.serve(link.conn, handler), part=True)

    with Listener(toy.ToyServer, serve) as listener:
        yield listener


HEARD = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Have `interrupt` raise KeyboardInterrupt in the main thread."""

    def raise_it(_: int, __: FrameType | None) -> None:
        HEARD.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    """Interrupt the main thread. A signal that comes just before a wait begins is not heard before the next one."""
    HEARD.clear()
    while not HEARD.is_set():
        os.kill(os.getpid(), signal.SIGUSR1)
        HEARD.wait(1)


def connected(port: int) -> tuple[toy.ToyClient, Link]:
    conn = toy.ToyClient()
    link = open_link(conn, "127.0.0.1", port)
    link.run(toy.greet(conn))
    return conn, link


def test_an_interrupt_while_waiting_closes_the_connection() -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"hello"
        interrupt()
        assert wire.rest() == b""

    with scripted(script) as port:
        conn, link = connected(port)
        with pytest.raises(KeyboardInterrupt), interruptible():
            link.run(toy.ask(conn, "hello"))
        with pytest.raises(ConnectionClosedError):
            link.run(toy.ask(conn, "later"))


def test_a_connection_that_was_closed_is_not_looked_at_where_there_is_no_poll_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By then its descriptor may be another's, or nobody's, for which select raises."""
    monkeypatch.setattr("mailproto.sync.link.new_poll", SelectPoll)
    with serving(Echo()) as listener:
        conn, link = connected(listener.port)
        link.close()
        with pytest.raises(ConnectionClosedError):
            link.run(toy.ask(conn, "later"))


def test_an_interrupt_in_the_source_closes_the_connection() -> None:
    def source() -> bytes:
        raise KeyboardInterrupt

    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.rest() == b""

    with scripted(script) as port:
        conn, link = connected(port)
        with pytest.raises(KeyboardInterrupt):
            link.run(toy.put_called(conn, 10, source))
        with pytest.raises(ConnectionClosedError):
            link.run(toy.ask(conn, "later"))


def test_nothing_can_be_awaited() -> None:
    async def source() -> bytes:
        return b"x"

    with serving(Echo()) as listener:
        conn, link = connected(listener.port)
        with pytest.raises(LocalProtocolError, match="nothing can be awaited"):
            link.run(toy.put_called(conn, 10, source))
        link.close()


def test_a_coroutine_as_a_hook_is_answered_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Mistaken:
        async def on_line(self, event: toy.Line) -> str:
            return event.text

    with serving(Mistaken()) as listener:
        conn, link = connected(listener.port)
        assert link.run(toy.ask(conn, "hello")) == ["-Internal error, try again later"]
        link.close()
    assert "nothing can be awaited" in caplog.text


class Talkative(socket.socket):
    """A socket whose peer always has something more to say."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(size, socket.MSG_PEEK)


def test_a_peer_that_goes_on_talking_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailproto.sync.link.LINGER", 0.01)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"x")
        link = Link(toy.ToyClient(), Talkative(fileno=ours.detach()))
        closing = threading.Thread(target=link.close, daemon=True)
        closing.start()
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_a_bell_takes_from_nobody_the_moment_to_take_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailproto.sync.link.LINGER", PATIENCE)
    bell, rope = socket.socketpair()
    ours, theirs = socket.socketpair()
    with bell, rope, theirs:
        link = Link(toy.ToyServer(), ours, bell=bell)
        rope.send(b"!")
        closing = threading.Thread(target=link.close)
        closing.start()
        closing.join(0.1)
        assert closing.is_alive()
        theirs.close()
        closing.join(PATIENCE / 2)
        assert not closing.is_alive()


def test_a_client_has_no_helper_thread() -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        wire.rest()

    with scripted(script) as port:
        before = threading.active_count()
        _, link = connected(port)
        assert threading.active_count() == before
        link.close()


def test_a_server_s_threads_end() -> None:
    before = threading.active_count()
    with serving(Echo()) as listener:
        links = [connected(listener.port)[1] for _ in range(5)]
        assert threading.active_count() == before + 6
        for link in links:
            link.close()
        wait_until(lambda: threading.active_count() == before + 1)
    wait_until(lambda: threading.active_count() == before)


def test_a_connection_for_which_there_is_no_thread_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with serving(Echo()) as listener:
        with monkeypatch.context() as patch:
            patch.setattr("mailproto.sync.listener.threading.Thread", NoThread)
            with Wire.to(listener.port) as wire:
                assert wire.rest() == b"-shutting down\r\n"
        wait_until(lambda: listener.connections == 0)
        _, link = connected(listener.port)
        link.close()


def test_a_server_that_closes_cuts_the_pause_short_that_a_refused_login_costs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailproto.sync.listener._MOMENT", PATIENCE)
    config = POP3ServerConfig(allow_plaintext_auth=True, limits=Limits(auth_failure_delay=10 * PATIENCE))
    asked = threading.Event()

    class Office:
        def on_auth(self, session: Any, check: Any) -> bool:
            asked.set()
            return False

    with (
        POP3Server(Office(), port=0, config=config) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock,
    ):
        sock.sendall(b"USER ada\r\nPASS x\r\n")
        assert asked.wait(PATIENCE)
        server.close(0)
        assert not server.connections
    assert "are left" not in caplog.text


@pytest.mark.parametrize("events", [False, True], ids=["hooks", "events"])
def test_a_hook_that_ends_its_thread_is_told(events: bool, caplog: pytest.LogCaptureFixture) -> None:
    """As ``sys.exit()`` does in some library; of that Python itself says nothing in a thread."""

    class Leaving:
        def on_connect(self, session: Any) -> None:
            sys.exit("no configuration")

    with POP3Server(Leaving().on_connect if events else Leaving(), port=0) as server:
        with Wire.to(server.port) as wire:
            assert wire.rest() == b""
        wait_until(lambda: server.connections == 0)
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage().endswith("serving failed")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], SystemExit)


def test_serving_for_ever_ends_when_it_is_closed_elsewhere() -> None:
    listener = Listener(toy.ToyServer, lambda link: link.abort())
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    wait_until(lambda: listener.port != 0)
    listener.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_serving_for_ever_ends_when_it_is_interrupted() -> None:
    def interrupt_when_it_listens() -> None:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            assert sock.recv(1) == b""  # it is served, so everything has begun
        interrupt()

    with held_port() as port:
        with Listener(toy.ToyServer, lambda link: link.abort(), port=port) as listener:
            thread = threading.Thread(target=interrupt_when_it_listens)
            with pytest.raises(KeyboardInterrupt), interruptible():  # first, or the signal may end everything
                thread.start()
                listener.serve_forever()
            thread.join(PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)


def test_who_is_interrupted_twice_waits_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """A hook does not end: the first interrupt lets it go on for the grace, the second one does not."""

    class Stuck(Echo):
        def on_line(self, event: toy.Line) -> str:
            reached.set()
            go_on.wait(PATIENCE)
            return ""

    class Awaited(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            serves.set()
            return super().wait(timeout)

    def interrupt_twice() -> None:
        with Wire.to(listener.port) as wire:
            wire.send(b"hello\r\n")
            assert reached.wait(PATIENCE)
            assert serves.wait(PATIENCE)
            interrupt()
            wait_until(listener._stopped.is_set)
            assert not closed.wait(0.2)
            interrupt()
            assert closed.wait(listener.options.grace / 2)

    reached, serves, go_on, closed = (threading.Event() for _ in range(4))
    thread = threading.Thread(target=interrupt_twice)
    with suppress(KeyboardInterrupt), interruptible(), serving(Stuck()) as listener:
        listener._stopped = Awaited()
        thread.start()
        listener.serve_forever()
    closed.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert "1 connections are left: their hooks do not end" in caplog.text
    go_on.set()
    wait_until(lambda: listener.connections == 0)


def test_connecting_has_a_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        with pytest.raises(ConnectionTimeoutError, match=r"within 0\.1 seconds"):
            for _ in range(10):
                fillers.append(open_link(toy.ToyClient(), *full.getsockname(), timeout=0.1))
        for filler in fillers:
            filler.abort()


def test_nobody_listens() -> None:
    with held_port() as port, pytest.raises(ConnectionRefusedError):
        open_link(toy.ToyClient(), "127.0.0.1", port)


def test_a_socket_that_cannot_be_used_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems let nothing be set on one that the peer has reset."""

    def gone(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname())
        monkeypatch.setattr(socket.socket, "setsockopt", gone)
        with pytest.raises(OSError, match="Invalid argument"):
            open_link(toy.ToyClient(), sock=sock)
        assert sock.fileno() == -1


def test_the_source_address_can_be_chosen() -> None:
    with serving(Echo()) as listener:
        link = open_link(toy.ToyClient(), "127.0.0.1", listener.port, source_address=("127.0.0.3", 0))
        assert link.local[0] == "127.0.0.3"
        link.close()


def test_events_that_are_asked_for_one_by_one_let_no_input_pile_up() -> None:
    """A client of short commands without a pause would have 64 KiB more of them in memory with every event."""
    here, there = socket.socketpair()
    conn = toy.ToyServer()
    link = Link(conn, here)
    there.setblocking(False)
    with there:
        for _ in range(50):
            with suppress(BlockingIOError):
                while True:
                    there.send(b"x\r\n" * 1000)
            link.run(read_event(conn), part=True)
            conn.accept()
        assert len(conn.lines) == 49
        assert len(conn.take_rest()) <= 2 * HIGH_WATER
        link.abort()


# A process that is forked.

FORKING = """
import os, signal, sys, warnings
from mailproto import sync
from mailproto.testing import Outbox

path = sys.argv[1]
warnings.simplefilter("ignore")  # that there are threads, which is the point
with sync.SMTPServer(Outbox(), port=0) as server, sync.SMTPServer(Outbox(), path=path):
    client = sync.SMTPClient("127.0.0.1", server.port)
    client.connect()
    if (child := os.fork()) == 0:
        signal.alarm(60)  # should it wait for what no thread of its own ends
        sys.exit()  # by way of the block
    assert os.waitpid(child, 0)[1] == 0
    client.send_message(b"Hello.\\r\\n", "a@example.org", "b@example.org").raise_for_refused()
    client.quit()
    for where in ({"host": "127.0.0.1", "port": server.port}, {"path": path}):
        with sync.SMTPClient(**where) as client:
            client.send_message(b"Hello.\\r\\n", "a@example.org", "b@example.org").raise_for_refused()
"""


def test_a_forked_process_leaves_the_server_to_its_parent(memory_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(memory_path / "socket")]
    program = subprocess.run(command, timeout=PATIENCE, stderr=subprocess.PIPE, text=True, check=False)
    assert (program.returncode, program.stderr) == (0, "")
