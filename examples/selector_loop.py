"""A driver of the flows over ``selectors``: servers and clients, in clear and under TLS, all in one thread.

    python3 -m examples.selector_loop

`Driver` and `Loop` are the whole of it, for every flow of the library and for flows of your own; `mailproto.flow`
says what a driver has to do. What is SMTP here stands behind them: a server, and the visit of a client.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from mailproto import TLSPolicy, smtp
from mailproto.flow import HIGH_WATER, Call, Engine, Flow, Sleep, Want
from mailproto.smtp import flows
from mailproto.tls import client_context, client_tls, server_context, server_tls

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
TICK, LINGER, GRACE = 0.2, 1.0, 30.0  # seconds
MAX_CONNECTIONS = 500
TLS_FILES = Path(__file__).parent.parent / "tests" / "data" / "tls"  # a certificate for localhost, and who signed it

Steps: TypeAlias = Generator[tuple[int, float], Any, Any]
"""Yields what it waits for and until when, and is sent what has come true of it, 0 when the time is up."""

logger = logging.getLogger(__name__)


class Driver:
    """Drives the flow that an engine has begun, over a TCP socket of its own.

    Attributes:
        failure: what ended the flow; None if it went well, and ``engine.result`` is there.
    """

    def __init__(self, sock: socket.socket, engine: Engine) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # the peer has gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.engine = sock, engine
        self.failure: Exception | None = None
        self.steps, self.watched, self.deadline = self._run(), 0, 0.0  # for the loop
        self._unsent = memoryview(b"")
        self._unread = 0  # octets that came since the flow last asked for input

    def _run(self) -> Steps:
        """Drive the flow to its end; say then that this was all, and give the peer a moment to read it."""
        value: Any = None
        thrown: Exception | None = None
        try:
            while (wish := self.engine.step(value, thrown)) is not None:
                value = thrown = None
                if isinstance(wish, Call):
                    try:
                        value = wish.function(*wish.arguments)
                    except Exception as error:
                        thrown = error
                elif not (yield from self._grant(wish)):
                    thrown = self.engine.receive_timeout()
        except Exception as error:
            self.failure = error
        self.engine.close_tls()
        if not self._send() and not self.engine.ended:
            with suppress(OSError):  # the peer has gone meanwhile
                self.sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + LINGER
                while (yield READ, deadline) and self.sock.recv(HIGH_WATER):
                    """Not of interest any more."""

    def _grant(self, wish: Want | Sleep) -> Steps:
        """Move octets until the wish is granted, or its time is up; return whether it is granted."""
        engine, ready = self.engine, WRITE
        deadline = engine.wait_from(time.monotonic())
        if wish is Want.READ:
            self._unread = 0
        while ready:
            choked = self._send()
            if (wish is Want.READ and (ready & READ or engine.ended)) or (wish is Want.FLUSH and not choked):
                break
            hears = self._unread <= HIGH_WATER and not engine.ended
            ready = yield (READ if hears else 0) | (WRITE if choked else 0), deadline
            if ready & READ:
                self._receive()
        engine.wait_to(time.monotonic())
        return bool(ready)

    def _receive(self) -> None:
        try:
            data = self.sock.recv(HIGH_WATER)
        except BlockingIOError:
            return
        except OSError:
            self.engine.lose(partly=bool(self._unsent))
        else:
            self._unread += len(data)
            self.engine.receive(data)

    def _send(self) -> bool:
        """Send what the network takes; return whether something is left."""
        while True:
            if self.engine.lost:
                self._unsent = memoryview(b"")
            self._unsent = self._unsent or memoryview(self.engine.output())
            if not self._unsent:
                return False
            try:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            except BlockingIOError:
                return True
            except OSError:
                self._receive()  # it may have said why
                self.engine.lose(partly=True)


class Loop:
    """Takes in who comes, waits for what the drivers wait for, and has them go on. What flows call must not block."""

    def __init__(self) -> None:
        self.drivers: set[Driver] = set()
        self._selector = selectors.DefaultSelector()
        self._listening: list[socket.socket] = []

    def start(self, sock: socket.socket, engine: Engine) -> Driver:
        """Drive the flow that ``engine`` has begun over a connected socket."""
        driver = Driver(sock, engine)
        self.drivers.add(driver)
        self._resume(driver, None)
        return driver

    def listen(self, listening: socket.socket, begin: Callable[[str], Engine]) -> None:
        """Serve whoever comes; ``begin`` makes an engine for him, and begins a flow on it."""
        listening.setblocking(False)
        self._listening.append(listening)
        self._selector.register(listening, READ, partial(self._accept, listening, begin))

    def _accept(self, listening: socket.socket, begin: Callable[[str], Engine], _: int) -> None:
        try:
            sock, peer = listening.accept()
        except OSError:  # he has gone again
            return
        if len(self.drivers) < MAX_CONNECTIONS:
            self.start(sock, begin(peer[0]))
        else:
            sock.close()

    def run(self, done: Callable[[], bool], seconds: float = float("inf")) -> None:
        """Go on until ``done`` says so, which is asked again and again, or so many seconds are over."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            first = min((driver.deadline for driver in self.drivers), default=end)
            for key, ready in self._selector.select(max(min(first - time.monotonic(), TICK), 0)):
                key.data(ready)
            for driver in [each for each in self.drivers if each.deadline <= time.monotonic()]:
                self._resume(driver, 0)

    def shut_down(self, grace: float = GRACE) -> None:
        """Take in nobody any more, and end each connection as soon as nothing is cut short by it, or time is up."""
        while self._listening:
            listening = self._listening.pop()
            self._selector.unregister(listening)
            listening.close()
        for driver in list(self.drivers):
            driver.engine.shut_down()
            if driver.engine.wish is Want.READ:
                self._resume(driver, READ)  # as if something had come
        self.run(lambda: not self.drivers, grace)

    def close(self) -> None:
        """Cut the connections that are left. Their flows learn of it, and end, unless they sleep."""
        for driver in list(self.drivers):
            driver.engine.lose()
            self._resume(driver, READ)
            if driver in self.drivers:
                driver.engine.break_off()
                self._end(driver)
        self._selector.close()

    def _resume(self, driver: Driver, ready: int | None) -> None:
        try:
            wanted, driver.deadline = driver.steps.send(ready)
        except StopIteration:
            self._end(driver)
        else:
            self._watch(driver, wanted)

    def _watch(self, driver: Driver, wanted: int) -> None:
        if wanted != driver.watched:
            if driver.watched:
                self._selector.unregister(driver.sock)
            if wanted:
                self._selector.register(driver.sock, wanted, partial(self._resume, driver))
            driver.watched = wanted

    def _end(self, driver: Driver) -> None:
        self._watch(driver, 0)
        driver.sock.close()
        self.drivers.remove(driver)
        if driver.failure is not None:
            logger.info("a connection ended by %r", driver.failure)


class Inbox:
    """The application: takes everything."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def on_rcpt(self, session: flows.SMTPSession, rcpt: smtp.Rcpt) -> None:
        """Take every recipient."""

    def on_message(self, session: flows.SMTPSession, envelope: smtp.Envelope) -> None:
        """Keep the message."""
        self.messages.append(bytes(envelope))


def serve(handler: object, context: ssl.SSLContext, implicit_tls: bool, peer: str) -> Engine:
    """Begin to serve a client at that address."""
    conn = smtp.SMTPServerConnection(smtp.SMTPServerConfig(starttls=not implicit_tls))
    engine = Engine(conn, server_tls(context))
    engine.begin(flows.serve(flows.SMTPSession(conn, peer), handler, implicit_tls=implicit_tls), part=True)
    return engine


def send(options: flows.SessionOptions, submission: smtp.Submission) -> Engine:
    """Begin to send a message to localhost: a flow made of flows."""

    def visit() -> Flow[smtp.SendResult]:
        yield from flows.open_session(conn, options)
        result = yield from flows.send_message(conn, submission)
        yield from flows.quit_session(conn)
        return result

    conn = smtp.SMTPClientConnection()
    engine = Engine(conn, client_tls(client_context(TLS_FILES / "ca.pem"), "localhost"))
    engine.begin(visit())
    return engine


def main() -> None:
    """Listen on two ports, have three clients bring a message each at the same time, and show what became of it."""
    inbox, visits = Inbox(), []
    context = server_context(TLS_FILES / "server.pem", TLS_FILES / "server.key")
    starttls, implicit = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    with closing(Loop()) as loop:
        loop.listen(starttls, partial(serve, inbox, context, False))
        loop.listen(implicit, partial(serve, inbox, context, True))
        for tls in (TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT):
            content = f"Subject: TLS {tls.value}\r\n\r\nHello\r\n".encode()
            submission = smtp.make_submission(content, "grace@example.net", "ada@example.org")
            listening = implicit if tls is TLSPolicy.IMPLICIT else starttls
            sock = socket.create_connection(listening.getsockname())
            visits.append(loop.start(sock, send(flows.SessionOptions(tls=tls), submission)))
        loop.run(lambda: loop.drivers.isdisjoint(visits))
        loop.shut_down()
    for visit in visits:
        print(visit.failure or visit.engine.result.reply)
    print(*map(repr, inbox.messages), sep="\n")


if __name__ == "__main__":
    main()
