"""The driver of examples/selector_loop.py serves many at once in one thread, whatever some of them do, and calls."""

from __future__ import annotations

import poplib
import smtplib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from examples.selector_loop import Driver, Inbox, Loop, send, serve
from mailproto import ConnectionClosedError, Limits, TLSPolicy, TLSRequiredError, sync
from mailproto.flow import Engine
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig, POP3ServerConnection
from mailproto.pop3 import flows as pop3_flows
from mailproto.smtp import SMTPServerConfig, SMTPServerConnection, flows, make_submission
from mailproto.tls import client_context, server_context, server_tls
from tests import data
from tests.adapters.harness import PATIENCE, held_port, wait_until

CONTEXT = server_context(*data.SERVER)
CONTENT = b"Subject: x\r\n\r\n.text\r\n"
SHORT = Limits(command_timeout=1.0, data_timeout=1.0, handshake_timeout=1.0)


class Listener(Inbox):
    """Knows who has left."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[str] = []

    def on_close(self, session: flows.SMTPSession) -> None:
        self.left.append(session.peer)


class Running:
    """A loop in a thread of its own, with one socket that listens on this port."""

    def __init__(self, begin: Callable[[str], Engine], port: int) -> None:
        self.loop = Loop()
        self.stop = threading.Event()
        self.grace = PATIENCE / 4
        self.port = port
        self._listening = socket.create_server(("127.0.0.1", port))
        self.loop.listen(self._listening, begin)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with closing(self.loop) as loop:
                loop.run(self.stop.is_set)
                loop.shut_down(self.grace)
        except BaseException as raised:
            self._failure = raised

    def end(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._listening.close()
        if self._failure is not None:
            raise self._failure


@contextmanager
def running(begin: Callable[[str], Engine]) -> Iterator[Running]:
    with held_port() as port:
        here = Running(begin, port)
        try:
            yield here
        finally:
            here.end()


def limited(handler: Any, *limits: Limits) -> Callable[[str], Engine]:
    """Return what begins to serve as the example does, but within these limits, each for one client, or the last one
    for all others."""
    given = iter(limits)

    def begin(peer: str) -> Engine:
        conn = SMTPServerConnection(SMTPServerConfig(starttls=True, limits=next(given, limits[-1])))
        engine = Engine(conn, server_tls(CONTEXT))
        engine.begin(flows.serve(flows.SMTPSession(conn, peer), handler), part=True)
        return engine

    return begin


def deliver(port: int, content: bytes = CONTENT, tls: TLSPolicy = TLSPolicy.NONE) -> None:
    with sync.SMTPClient("localhost", port, tls=tls, cafile=data.CA, timeout=PATIENCE) as client:
        client.send_message(content, "grace@example.net", "ada@example.org").raise_for_refused()


def connect(port: int) -> socket.socket:
    """Connect, and read the greeting."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    assert sock.recv(1000).startswith(b"220 ")
    return sock


def read_until(sock: socket.socket, wanted: bytes) -> None:
    said = b""
    while wanted not in said:
        octets = sock.recv(1000)
        assert octets, said
        said += octets


def read_to_the_end(sock: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionResetError):
        while octets := sock.recv(65536):
            said += octets
    return said


# Clients of the server.


@pytest.mark.parametrize("tls", [TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT])
def test_many_are_served_at_a_time(tls: TLSPolicy) -> None:
    inbox = Inbox()
    with running(partial(serve, inbox, CONTEXT, tls is TLSPolicy.IMPLICIT)) as server:
        options: dict[str, Any] = {"tls": tls, "cafile": data.CA, "timeout": PATIENCE}
        clients = [sync.SMTPClient("localhost", server.port, **options) for _ in range(4)]
        for client in clients:
            client.connect()
        wait_until(lambda: len(server.loop.drivers) == 4)
        for number, client in enumerate(clients):
            content = b"Subject: %d\r\n\r\n" % number + b"text\r\n" * 100_000
            client.send_message(content, "grace@example.net", "ada@example.org").raise_for_refused()
            assert (client.tls is None) == (tls is TLSPolicy.NONE)
        for client in clients:
            client.quit()
        wait_until(lambda: not server.loop.drivers)
    assert [message[:13] for message in inbox.messages] == [b"Subject: %d\r\n\r" % number for number in range(4)]
    assert {len(message) for message in inbox.messages} == {600_014}


def test_smtplib_sends_under_starttls() -> None:
    inbox = Inbox()
    with running(partial(serve, inbox, CONTEXT, False)) as server, smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=client_context(data.CA))
        assert client.sendmail("grace@example.net", ["ada@example.org"], CONTENT) == {}
    assert inbox.messages == [CONTENT]


def test_poplib_fetches_through_the_same_driver() -> None:
    drop = MemoryMaildrop()
    drop.deliver([CONTENT])
    host = MailHost(lambda _: drop, {"ada": "secret"})

    def begin(peer: str) -> Engine:
        conn = POP3ServerConnection(POP3ServerConfig(starttls=True))
        engine = Engine(conn, server_tls(CONTEXT))
        engine.begin(pop3_flows.serve(pop3_flows.POP3Session(conn, peer), host), part=True)
        return engine

    with running(begin) as server:
        client = poplib.POP3("localhost", server.port, timeout=PATIENCE)
        client.stls(client_context(data.CA))
        client.user("ada")
        client.pass_("secret")
        assert client.retr(1)[1] == [b"Subject: x", b"", b".text"]
        client.dele(1)
        client.quit()
    assert not drop.open().messages


# Those who do not behave.


@pytest.mark.parametrize("said", [b"", b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x\r\n"])
def test_who_stalls_is_told_that_his_time_is_up_and_keeps_nobody_waiting(said: bytes) -> None:
    inbox, began = Inbox(), time.monotonic()
    with running(limited(inbox, SHORT, Limits())) as server, connect(server.port) as sock:
        sock.sendall(said)
        deliver(server.port)
        assert b"\r\n421 4.4.2" in b"\r\n" + read_to_the_end(sock)
        assert 1.0 <= time.monotonic() - began < PATIENCE / 2
        wait_until(lambda: not server.loop.drivers)
    assert len(inbox.messages) == 1


def test_who_stalls_in_the_handshake_is_hung_up_on() -> None:
    limits = Limits(handshake_timeout=SHORT.handshake_timeout)
    with running(limited(Inbox(), limits)) as server, connect(server.port) as sock:
        sock.sendall(b"EHLO x\r\n")
        assert b"STARTTLS" in sock.recv(1000)
        sock.sendall(b"STARTTLS\r\n")
        assert sock.recv(1000).startswith(b"220 ")
        assert read_to_the_end(sock) == b""
        wait_until(lambda: not server.loop.drivers)


def test_what_is_said_in_clear_behind_starttls_is_not_believed() -> None:
    with running(partial(serve, Inbox(), CONTEXT, False)) as server, connect(server.port) as sock:
        sock.sendall(b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n")
        assert read_to_the_end(sock).count(b"\r\n250 ") == 1  # EHLO's last line


@pytest.mark.parametrize("said", [b"", b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x\r\n"])
def test_who_resets_his_connection_ends_his_own_alone(said: bytes) -> None:
    handler = Listener()
    with running(partial(serve, handler, CONTEXT, False)) as server:
        with connect(server.port) as rude, connect(server.port) as other:
            rude.sendall(said)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
            wait_until(lambda: len(server.loop.drivers) == 1)
            assert handler.left == ["127.0.0.1"]
            other.sendall(b"QUIT\r\n")
            assert other.recv(100).startswith(b"221 ")
        deliver(server.port)
    assert handler.messages == [CONTENT]


class Wordy(Inbox):
    """Answers VRFY at length."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def on_vrfy(self, session: flows.SMTPSession, vrfy: object) -> str:
        self.asked += 1
        return "x" * 400


def flood(sock: socket.socket, count: int) -> None:
    """Ask, and do not read what is answered."""
    with suppress(OSError):
        sock.sendall(b"VRFY x\r\n" * count)


def test_who_does_not_read_is_not_listened_to_and_loses_nothing() -> None:
    wordy, count = Wordy(), 100_000
    limits = Limits(max_commands=2 * count, max_junk=2 * count)
    with running(limited(wordy, limits)) as server, connect(server.port) as sock:
        asking = threading.Thread(target=flood, args=(sock, count), daemon=True)
        asking.start()
        wait_until(lambda: wordy.asked > 0)
        asked = -1
        while asked != wordy.asked:
            asked = wordy.asked
            time.sleep(0.3)
        assert 0 < asked < count / 2
        deliver(server.port)  # others are served meanwhile
        wait_until(lambda: len(server.loop.drivers) == 1)
        (driver,) = server.loop.drivers
        assert len(driver._unsent) + driver.engine.conn.queued < 1 << 20
        assert driver._unread < 256 << 10
        answers = 0
        with sock.makefile("rb") as lines:
            while answers < count and lines.readline().endswith(b"xxx\r\n"):
                answers += 1
        asking.join()
    assert answers == wordy.asked == count


def test_who_never_reads_is_cut_off() -> None:
    limits = Limits(max_commands=1 << 20, max_junk=1 << 20, command_timeout=0.3)
    with running(limited(Wordy(), limits)) as server, connect(server.port) as sock:
        asking = threading.Thread(target=flood, args=(sock, 100_000), daemon=True)
        asking.start()
        wait_until(lambda: not server.loop.drivers)
        asking.join()


# The end.


def test_a_shutdown_in_the_middle_of_a_message_lets_it_come_to_its_end() -> None:
    inbox = Inbox()
    beginning = partial(serve, inbox, CONTEXT, False)
    with running(beginning) as server, connect(server.port) as busy, connect(server.port) as idle:
        busy.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        read_until(busy, b"\r\n354 ")
        server.stop.set()
        assert read_to_the_end(idle).startswith(b"421 4.3.2")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        busy.sendall(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert [line[:3] for line in read_to_the_end(busy).splitlines()] == [b"250", b"421"]
    assert inbox.messages == [CONTENT]


def test_who_is_not_through_when_the_grace_is_over_is_cut_off_and_the_application_knows() -> None:
    handler = Listener()
    with running(partial(serve, handler, CONTEXT, False)) as server:
        server.grace = 0.1
        with connect(server.port) as sock:
            sock.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
            read_until(sock, b"\r\n354 ")
            server.stop.set()
            assert b"250" not in read_to_the_end(sock)
    assert (handler.left, handler.messages) == (["127.0.0.1"], [])


def test_a_pause_does_not_outlive_the_loop() -> None:
    with running(limited(Inbox(), Limits(max_free_errors=0, error_delay=600.0))) as server:
        server.grace = 0.1
        with connect(server.port) as sock:
            sock.sendall(b"EHLO x\r\nFOO\r\nBAR\r\n")
            read_until(sock, b"\r\n500 ")
            server.stop.set()
            assert read_to_the_end(sock) == b""


# Calling.


def visit(port: int, tls: TLSPolicy, content: bytes = CONTENT) -> Driver:
    """Bring a message to a server, in a loop of its own."""
    with closing(Loop()) as loop:
        submission = make_submission(content, "grace@example.net", "ada@example.org")
        sock = socket.create_connection(("127.0.0.1", port))
        driver = loop.start(sock, send(flows.SessionOptions(tls=tls), submission))
        loop.run(lambda: not loop.drivers, PATIENCE)
        assert not loop.drivers
    return driver


@pytest.mark.parametrize("tls", [TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT])
def test_a_message_is_brought_to_a_server(tls: TLSPolicy) -> None:
    inbox, content = Inbox(), b"Subject: x\r\n\r\n" + b"text\r\n" * 500_000
    implicit = tls is TLSPolicy.IMPLICIT
    with sync.SMTPServer(inbox, port=0, tls=CONTEXT, implicit_tls=implicit) as server:
        driver = visit(server.port, tls, content)
    assert driver.failure is None
    assert str(driver.engine.result.reply) == "250 2.0.0 Message accepted"
    session = driver.engine.conn.tls
    assert (session and session.version) == (None if tls is TLSPolicy.NONE else "TLSv1.3")
    assert inbox.messages == [content]


def test_a_server_that_cannot_be_trusted_is_told_so() -> None:
    context = server_context(*data.WRONG_NAME)
    handler = Listener()
    with running(partial(serve, handler, context, False)) as server:
        driver = visit(server.port, TLSPolicy.REQUIRED)
    assert isinstance(driver.failure, ssl.SSLCertVerificationError)
    assert handler.messages == []


def test_a_server_without_tls_gets_nothing() -> None:
    inbox = Inbox()
    with sync.SMTPServer(inbox, port=0) as server:
        assert isinstance(visit(server.port, TLSPolicy.REQUIRED).failure, TLSRequiredError)
    assert inbox.messages == []


def test_a_server_that_hangs_up_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hanging_up = threading.Thread(target=lambda: listening.accept()[0].close(), daemon=True)
        hanging_up.start()
        assert isinstance(visit(listening.getsockname()[1], TLSPolicy.NONE).failure, ConnectionClosedError)
        hanging_up.join()
