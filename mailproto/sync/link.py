"""A connection over a blocking socket: its bytes and its clock, and nothing that knows a protocol.

The socket itself never blocks; waiting is done in one place, for input, for room, and for whoever wants the thread's
attention. What the peer says is taken while it does not take what we say: two sides that only write would wait for
each other. There is no helper thread.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mailproto._core.connection import Connection
from mailproto._core.flow import READ, Call, Flow, Sleep, T
from mailproto._flows.engine import HIGH_WATER, Engine, TLSSession
from mailproto.errors import LocalProtocolError
from mailproto.sync.polling import EITHER, READABLE, WRITABLE, new_poll

LINGER = 1.0
"""Seconds to wait for the peer's end after ours: to close at once could destroy what it has not read yet."""

LONGEST = 3600.0
"""Seconds of one wait of the system, which cannot count to infinity, nor to a few weeks of milliseconds."""


class Link:
    """One connection and its socket. It belongs to one thread at a time.

    Args:
        conn: the state machine.
        sock: a connected socket, which is the link's from now on.
        open_tls: what opens a TLS session when a flow wants one.
        bell: a socket that becomes readable when the connection is to be ended, see `shut_down`.
    """

    def __init__(
        self,
        conn: Connection[Any],
        sock: socket.socket,
        open_tls: Callable[[], TLSSession] | None = None,
        *,
        bell: socket.socket | None = None,
    ) -> None:
        self.conn = conn
        self._engine = Engine(conn, open_tls)
        self._sock = sock
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._descriptor = sock.fileno()
        self._poll = new_poll()
        self._poll.register(self._descriptor, READABLE)
        self._interest = READABLE
        if bell is not None:
            self._poll.register(bell.fileno(), READABLE)
        self._unsent: bytes | memoryview = b""
        self._unread = 0  # octets that came since the flow last asked for input
        self._closed = False
        self._cut = threading.Event()
        self.peer: Any = _address(sock.getpeername)
        self.local: Any = _address(sock.getsockname)

    # Flows.

    def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive ``flow``, a whole job or a ``part`` of one, to its end and return its value.

        If it is broken off on the way by what is no answer of the flow's own, such as KeyboardInterrupt, the
        connection is closed: nobody could say any more to whom the next reply belongs.

        Raises:
            LocalProtocolError: another flow is under way.
            ConnectionClosedError: the connection is gone.
        """
        engine = self._engine
        engine.begin(flow, part=part)
        try:
            listens = self.conn.progress and self.conn.idle and self._unread <= HIGH_WATER and not self._closed
            if listens and self._poll.poll(0):
                self._receive()  # that the peer has hung up meanwhile, or why, is no news to wait for
            self._drive()
        except BaseException:
            if engine.busy:
                engine.break_off()
            raise
        finally:
            if engine.broken:
                self.abort()
            elif self.conn.closing:
                self.close()
        result: T = engine.result
        return result

    def switch(self, conn: Connection[Any]) -> None:
        """Go on with ``conn`` in the place of the connection so far, see `Engine.switch`."""
        self._engine.switch(conn)
        self.conn = conn

    def _drive(self) -> None:
        engine = self._engine
        value: Any = None
        error: Exception | None = None
        while (wish := engine.step(value, error)) is not None:
            value = error = None
            if type(wish) is Call:
                try:
                    value = _plain(wish.function(*wish.arguments))
                except Exception as raised:
                    error = raised
            elif wish is READ:
                error = self._read()
            elif isinstance(wish, Sleep):
                self._send()
                self._cut.wait(min(wish.seconds, threading.TIMEOUT_MAX))
            else:
                error = self._flush()
        self._send()

    # Bytes.

    def _read(self) -> Exception | None:
        """Send, and take what comes; return what has to be thrown into the flow."""
        engine = self._engine
        deadline = engine.wait_from(time.monotonic())
        ready = 0
        while not ready & READABLE:
            ready = self._wait(EITHER if self._send() else READABLE, deadline)
            if not ready:
                engine.wait_to(time.monotonic())
                return engine.receive_timeout()
        engine.wait_to(time.monotonic())
        self._unread = 0
        self._receive()
        return None

    def _flush(self) -> Exception | None:
        """Send everything; return what has to be thrown into the flow. The peer has its time for each 64 KiB."""
        taken = 0
        while self._send():
            if taken - len(self._unsent) >= HIGH_WATER or not taken:
                taken = len(self._unsent)
                deadline = time.monotonic() + self.conn.timeout
            deaf = self._engine.ended or self._unread > HIGH_WATER
            ready = self._wait(WRITABLE if deaf else EITHER, deadline)
            if not ready:
                self._unsent = b""
                return self._engine.receive_timeout()
            if ready & READABLE:
                self._receive()
        return None

    def _send(self) -> bool:
        """Send what the network takes now; return whether something is left."""
        try:
            if not self._unsent:
                self._unsent = self._engine.output()
            while self._unsent:
                sent = self._sock.send(self._unsent)
                self._unsent = memoryview(self._unsent)[sent:] if sent < len(self._unsent) else b""
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            self._unsent = b""
            self._receive()  # it may have said why
            self._engine.lose(partly=True)
        return False

    def _receive(self) -> None:
        try:
            data = self._sock.recv(HIGH_WATER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._engine.lose(partly=bool(self._unsent))
        else:
            self._unread += len(data)
            self._engine.receive(data)

    def _wait(self, events: int, deadline: float) -> int:
        """Wait for any of ``events`` and return which it was, 0 when the deadline came first."""
        if events != self._interest:
            self._poll.register(self._descriptor, events)
            self._interest = events
        ready, left = 0, 1.0
        while not ready and left > 0:
            left = deadline - time.monotonic()
            for descriptor, happened in self._poll.poll(min(max(left, 0), LONGEST) * 1000):
                if descriptor != self._descriptor:  # the bell: of the end the flow learns when it waits for input
                    self._poll.unregister(descriptor)
                    self._engine.shut_down()
                    ready |= READABLE
                else:
                    ready |= happened if happened <= EITHER else events  # an error is any of them
        return ready

    # The end.

    def close(self) -> None:
        """Close the connection: say what is to be said, that this was all, and give the peer a moment to take it."""
        try:
            if not (self._closed or self._engine.busy or self._engine.broken):
                self._engine.close_tls()
                if not self._send() and not self._engine.ended:
                    self._linger()
        except OSError:
            pass  # it is closed all the same
        finally:
            self.abort()

    def _linger(self) -> None:
        """Say that this was all, and wait for the peer's end, but not for as long as it likes to go on talking."""
        self._sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER
        while time.monotonic() < deadline and self._wait(READABLE, deadline):
            with suppress(BlockingIOError):  # there was nothing but the bell
                if not self._sock.recv(HIGH_WATER):
                    return

    def abort(self) -> None:
        """Close the connection at once."""
        if not self._closed:
            self._closed = True
            self._engine.lose(partly=bool(self._unsent))
            self._sock.close()

    def refuse(self) -> None:
        """End the connection before it has begun, in the words it has for that, and without waiting."""
        self.conn.shut_down()
        self._send()
        self.abort()

    def cut(self) -> None:
        """Cut the line. Of all methods this one alone may be called from another thread."""
        self._cut.set()  # whoever is made to wait need not any more
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def _plain(value: Any) -> Any:
    """Return what the application returned, unless it would have to be awaited."""
    if not hasattr(type(value), "__await__"):
        return value
    if hasattr(value, "close"):
        value.close()
    raise LocalProtocolError("nothing can be awaited here: use plain functions and iterators")


def _address(ask: Callable[[], Any]) -> Any:
    """Return a socket's address, None if the peer has gone already."""
    try:
        return ask()
    except OSError:
        return None
