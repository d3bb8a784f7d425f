"""What holds for a server on either adapter: where it listens, whom it lets in, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto._core.limits import Limits
from mailproto._net.listener import Admission, ServerOptions, Verdict
from mailproto._net.sockets import listen_unix
from mailproto.errors import GrammarError
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, Aio, Gate, Sync, Wire, held_port, server_context, wait_until
from tests.adapters.toy import Echo

Adapter = Aio | Sync


def unix_wire(path: Path) -> Wire:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return Wire(sock)


def wire_from(address: str, port: int) -> Wire:
    return Wire(socket.create_connection(("127.0.0.1", port), PATIENCE, (address, 0)))


class Waiting(Echo):
    """Says back what it is told, but waits at the gate first when it is told so."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.ended = threading.Event()

    def on_line(self, event: toy.Line) -> Any:
        return self.gate.wait() if event.text == "wait" else event.text

    def on_end(self) -> None:
        self.ended.set()


# Where.


def test_port_0_becomes_a_real_one(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    assert server.port
    assert server.listener.addresses == (("127.0.0.1", server.port),)
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"


@pytest.mark.parametrize("argument", ["ssl_context", "require_auth", "max_connections", "optoins"])
def test_an_argument_that_there_is_not_is_not_taken(argument: str) -> None:
    """A server without the TLS, the login or the limit that it was to have would tell nobody."""
    wrong: dict[str, Any] = {argument: 1}
    for front in (aio, sync):
        with pytest.raises(TypeError, match=argument):
            front.SMTPServer(lambda session: None, port=0, **wrong)
        with pytest.raises(TypeError, match=argument):
            front.POP3Server(lambda session: None, port=0, **wrong)


def test_where_an_option_goes_is_told() -> None:
    wrong: dict[str, Any] = {"max_connections": 1}
    with pytest.raises(TypeError, match=r"max_connections, which goes into options=ServerOptions\("):
        sync.SMTPServer(lambda session: None, port=0, **wrong)


def test_several_addresses_share_one_port(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), host=["127.0.0.1", "127.0.0.2"])
    assert server.listener.addresses == (("127.0.0.1", server.port), ("127.0.0.2", server.port))
    for address in ("127.0.0.1", "127.0.0.2"):
        with Wire(socket.create_connection((address, server.port), PATIENCE)) as wire:
            assert wire.line() == b"+ok"


def test_every_address_of_the_machine(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), host=None)
    assert {address[1] for address in server.listener.addresses} == {server.port}
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"


def test_a_port_in_use_is_an_error(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {server.port}"):
        adapter.serve(Echo(), port=server.port)


@pytest.mark.parametrize("port", [1 << 16, 70_000, -1])
def test_what_is_no_port_leaves_no_socket_behind(adapter: Adapter, port: int) -> None:
    with pytest.raises(GrammarError, match=f"not a port: {port}"):  # and, because warnings are errors, nothing else
        adapter.serve(Echo(), port=port)


def test_a_port_can_be_shared(adapter: Adapter) -> None:
    options = ServerOptions(reuse_port=True)
    server = adapter.serve(Echo(), options=options)
    other = adapter.serve(Echo(), port=server.port, options=options)
    assert other.port == server.port


def test_a_socket_can_be_handed_in(adapter: Adapter) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = adapter.serve(Echo(), sock=sock)
    assert server.port == port
    with Wire.to(port) as wire:
        assert wire.line() == b"+ok"
    server.close()
    assert sock.fileno() == -1


def test_a_unix_socket(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = adapter.serve(Echo(), path=path)
    assert server.port == 0
    assert server.listener.addresses == (str(path),)
    client = adapter.connect(path=path)
    assert client.run(toy.greet(client.conn)) == "+ok"
    assert client.run(toy.ask(client.conn, "BYE")) == ["+bye"]
    with pytest.raises(OSError):
        adapter.serve(Echo(), path=path)
    server.close()
    assert not path.exists()


def test_a_server_that_is_closed_twice_leaves_the_socket_of_its_successor(adapter: Adapter, tmp_path: Path) -> None:
    """Which may have its inode, too, for that is free again."""
    path, kept = tmp_path / "socket", tmp_path / "kept"
    server = adapter.serve(Echo(), path=path)
    kept.hardlink_to(path)
    server.close()
    kept.rename(path)
    server.close()
    assert path.exists()


def test_the_socket_of_a_dead_server_is_replaced_and_another_s_is_left(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = adapter.serve(Echo(), path=path)
    path.rename(tmp_path / "old")
    other = adapter.serve(Echo(), path=path)
    server.close()
    with unix_wire(path) as wire:
        assert wire.line() == b"+ok"
    other.close()


def test_a_server_that_is_too_busy_to_accept_is_alive(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(path)
        busy.listen(0)
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        with pytest.raises(OSError, match="cannot listen on"):
            listen_unix(path)
        assert Path(path).is_socket()


def test_a_file_is_not_replaced(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError):
        adapter.serve(Echo(), path=path)
    assert path.read_text() == "precious"


# Who.


def test_one_connection_too_many_is_sent_away(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), options=ServerOptions(max_connections=2))
    with Wire.to(server.port) as first, Wire.to(server.port) as second:
        assert first.line() == second.line() == b"+ok"
        with Wire.to(server.port) as third:
            assert third.rest() == b"-shutting down\r\n"
        first.close()
        wait_until(lambda: server.listener.connections == 1)
        with Wire.to(server.port) as fourth:
            assert fourth.line() == b"+ok"
        second.send(b"hello\r\n")
        assert second.line() == b"+hello"


def test_one_too_many_from_the_same_address(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), options=ServerOptions(max_per_address=1))
    with Wire.to(server.port) as first, Wire.to(server.port) as second, wire_from("127.0.0.2", server.port) as other:
        assert first.line() == b"+ok"
        assert second.rest() == b"-shutting down\r\n"
        assert other.line() == b"+ok"


def test_who_is_sent_away_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailproto")
    admission = Admission(ServerOptions(max_connections=3, max_per_address=1))
    for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
        admission.enter((host, 25))
    assert caplog.messages == [
        "('192.0.2.1', 25): too many connections from this address",
        "('192.0.2.3', 25): too many connections",
    ]


def test_who_is_let_in() -> None:
    admission = Admission(ServerOptions(max_connections=1, max_per_address=1))
    assert admission.enter(("192.0.2.1", 1)) is Verdict.SERVE
    assert [admission.enter(("192.0.2.2", 1)) for _ in range(100)] == [Verdict.REFUSE] * 100
    assert admission.enter(("192.0.2.3", 1)) is Verdict.DROP
    for _ in range(100):
        admission.leave(("192.0.2.2", 1))
    admission.leave(("192.0.2.3", 1))
    admission.leave(("192.0.2.1", 1))
    assert admission.enter(("192.0.2.2", 1)) is Verdict.SERVE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2), True),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::ffff:0:2", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 1), True),
        (("fe80::1%eth0", 1, 0, 1), ("fe80::2%eth1", 1, 0, 2), True),
        ("", "", False),
    ],
)
def test_whose_connections_count_together(one: Any, other: Any, same: bool) -> None:
    admission = Admission(ServerOptions(max_per_address=1))
    assert admission.enter(one) is Verdict.SERVE
    assert admission.enter(other) is (Verdict.REFUSE if same else Verdict.SERVE)


def test_under_implicit_tls_nobody_is_sent_away_in_clear(adapter: Adapter) -> None:
    options = ServerOptions(max_connections=1)
    server = adapter.serve(Echo(), options=options, tls=server_context(), implicit_tls=True)
    with Wire.to(server.port):
        wait_until(lambda: server.listener.connections == 1)
        with Wire.to(server.port) as second:
            assert second.rest() == b""


def test_handshakes_count_as_connections(adapter: Adapter) -> None:
    server = adapter.serve(
        Echo(),
        options=ServerOptions(max_connections=1),
        tls=server_context(),
        implicit_tls=True,
        limits=Limits(handshake_timeout=0.2),
    )
    with Wire.to(server.port) as idle:
        wait_until(lambda: server.listener.connections == 1)
        assert idle.rest() == b""
        wait_until(lambda: server.listener.connections == 0)


def test_a_connection_that_cannot_be_made_stops_nothing(adapter: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise OverflowError("no room for a session")

    server = adapter.serve(Echo())
    serve, server.listener._serve = server.listener._serve, fail
    with Wire.to(server.port) as wire:
        assert wire.rest() == b""
    server.listener._serve = serve
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
    assert "no room for a session" in caplog.text


# How it ends.


def test_those_who_are_idle_are_told_at_once(adapter: Adapter) -> None:
    with held_port() as port:
        server = adapter.serve(Echo(), port=port)
        with Wire.to(port) as wire:
            assert wire.line() == b"+ok"
            closing = server.begin_close()
            assert wire.rest() == b"-shutting down\r\n"
            wire.close()
            closing.join(PATIENCE)
            assert not closing.is_alive()
        with pytest.raises(ConnectionRefusedError):
            Wire.to(port)


def test_a_handshake_is_not_waited_for(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    with Wire.to(server.port) as wire:
        wait_until(lambda: server.listener.connections == 1)
        closing = server.begin_close()
        assert wire.rest() == b""
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_what_is_under_way_is_finished_first(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    with Wire.to(server.port) as wire, Wire.to(server.port) as idle:
        assert wire.line() == idle.line() == b"+ok"
        wire.send(b"PUT 10\r\n12345")
        wait_until(lambda: bool(server.conns[0]._left == 5 or server.conns[1]._left == 5))
        closing = server.begin_close()
        assert idle.rest() == b"-shutting down\r\n"
        wire.send(b"67890")
        assert wire.rest() == b"+stored 10\r\n-shutting down\r\n"
        idle.close()
        wire.close()
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_a_hook_that_works_is_waited_for_and_answered(adapter: Adapter) -> None:
    handler = Waiting(Gate(adapter))
    server = adapter.serve(handler)
    with Wire.to(server.port) as wire:
        wire.send(b"wait\r\n")
        handler.gate.wait_reached()
        closing = server.begin_close()
        assert wire.line() == b"+ok"
        handler.gate.open()
        assert wire.rest() == b"+True\r\n-shutting down\r\n"
        wire.close()
        closing.join(PATIENCE)
        assert handler.ended.is_set()


def test_what_does_not_finish_in_time_is_cut_off(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("aio", "sync"):
        monkeypatch.setattr(f"mailproto.{module}.listener._MOMENT", PATIENCE)
    handler = Waiting(Gate(adapter))
    server = adapter.serve(handler)
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"PUT 10\r\n12345")
        wait_until(lambda: bool(server.conns[0]._left == 5))
        server.close(0.05)
        assert wire.rest() == b""
        assert handler.ended.is_set()
        assert server.listener.connections == 0


def test_a_hook_that_does_not_end_does_not_hold_the_server(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Waiting(Gate(adapter))
    server = adapter.serve(handler)
    with Wire.to(server.port) as wire:
        wire.send(b"wait\r\n")
        handler.gate.wait_reached()
        server.close(0.05)
        assert wire.rest() == b"+ok\r\n"
        handler.gate.open()
        assert handler.ended.wait(PATIENCE)
        wait_until(lambda: server.listener.connections == 0)


def test_closing_twice_and_before_the_start_does_no_harm(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    server.close()
    server.close()


def test_who_closes_a_server_that_closes_already_waits_as_well(adapter: Adapter) -> None:
    """Or else the program might end, and with it what is under way."""
    handler = Waiting(Gate(adapter))
    server = adapter.serve(handler)
    with Wire.to(server.port) as wire:
        wire.send(b"wait\r\n")
        handler.gate.wait_reached()
        closing = [server.begin_close() for _ in range(2)]
        for thread in closing:
            thread.join(0.2)
        assert all(thread.is_alive() for thread in closing)
        handler.gate.open()
        assert wire.rest() == b"+ok\r\n+True\r\n-shutting down\r\n"
    for thread in closing:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_who_closes_once_more_may_have_less_patience(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"PUT 10\r\n12345")
        wait_until(lambda: bool(server.conns[0]._left == 5))
        closing = server.begin_close(10 * PATIENCE)
        wait_until(server.listener._stopped.is_set)
        server.close(0.05)
        assert wire.rest() == b""
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_many_clients_at_once(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    wires = [Wire.to(server.port) for _ in range(50)]
    for number, wire in enumerate(wires):
        wire.send(b"%d\r\n" % number)
    for number, wire in enumerate(wires):
        assert [wire.line(), wire.line()] == [b"+ok", b"+%d" % number]
    for wire in wires:
        wire.close()
    wait_until(lambda: server.listener.connections == 0)


def test_a_server_leaves_nothing_open(adapter: Adapter) -> None:
    def descriptors() -> set[tuple[str, str]]:
        found = set()
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of this look itself
                found.add((link.name, str(link.readlink())))
        return found

    adapter.serve(Echo()).close()  # behind which some loops keep a descriptor for themselves
    before = descriptors()
    server = adapter.serve(Echo(), tls=server_context())
    for _ in range(3):
        with Wire.to(server.port) as wire:
            wire.send(b"hello\r\nBYE\r\n")
            wire.rest()
    wait_until(lambda: server.listener.connections == 0)
    server.close()
    wait_until(lambda: descriptors() <= before)  # some loops close with their next step, and other things may go
