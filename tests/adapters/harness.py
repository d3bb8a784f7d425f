"""Both adapters under one blocking interface, so that one table of tests can be run on either."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from mailproto._core.connection import Connection
from mailproto._core.flow import Flow
from mailproto._core.limits import Limits
from mailproto.aio.connect import open_link as aio_open_link
from mailproto.aio.link import Link as AioLink
from mailproto.aio.listener import Listener as AioListener
from mailproto.sync.connect import open_link as sync_open_link
from mailproto.sync.link import Link as SyncLink
from mailproto.sync.listener import Listener as SyncListener
from tests.adapters import toy
from tests.data import SERVER

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a test has failed, whatever it waits for: a busy machine stands still for many at times."""


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something has come true that no event tells of."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def at_best(measure: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Return what comes of something several times, if need be: the first that is good, or the last.

    It is for what depends on how long something takes, since a machine that stands still just then makes it take
    longer. What ought not to take so long does each time.
    """
    for _ in range(8):
        if good(result := measure()):
            return result
    return measure()


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 at which nobody listens but who is told of it, and again nobody when he has ended.

    It stays bound, so that no other test, of another run either, is given it. A socket that has SO_REUSEADDR, as
    those of our servers have, can be bound to it as well.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*SERVER)
    return context


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def call(self, function: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return function()

        return self.run(work())

    def stop(self) -> None:
        leftovers = self.call(lambda: [task for task in asyncio.all_tasks() if not task.done()])
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        assert len(leftovers) <= 1, f"tasks are left: {leftovers}"
        assert not self.problems, f"the loop complained: {self.problems}"


class _Server:
    def __init__(self, limits: Limits | None, implicit_tls: bool, handler: Any) -> None:
        self.conns: list[toy.ToyServer] = []
        self._limits = limits
        self._implicit_tls = implicit_tls
        self._handler = handler

    def make(self) -> toy.ToyServer:
        self.conns.append(toy.ToyServer(self._limits))
        return self.conns[-1]

    def flow(self, conn: Connection[Any]) -> Flow[None]:
        assert isinstance(conn, toy.ToyServer)
        handler = self._handler() if isinstance(self._handler, type) else self._handler
        return toy.serve(conn, handler, tls=self._implicit_tls)

    def begin_close(self, grace: float | None = None) -> threading.Thread:
        thread = threading.Thread(target=self.close, args=(grace,), daemon=True)
        thread.start()
        return thread

    def close(self, grace: float | None = None) -> None:
        raise NotImplementedError


class _AioServer(_Server):
    def __init__(self, loop: Loop, handler: Any, limits: Limits | None = None, **settings: Any) -> None:
        super().__init__(limits, settings.get("implicit_tls", False), handler)
        self._loop = loop
        self.listener: AioListener = loop.call(
            lambda: AioListener(self.make, lambda link: link.start(self.flow(link.conn)), **settings)
        )
        loop.run(self.listener.start())
        self.port = self.listener.port

    def close(self, grace: float | None = None) -> None:
        self._loop.run(self.listener.close(grace))


class _SyncServer(_Server):
    def __init__(self, handler: Any, limits: Limits | None = None, **settings: Any) -> None:
        super().__init__(limits, settings.get("implicit_tls", False), handler)
        self.listener = SyncListener(self.make, lambda link: link.run(self.flow(link.conn), part=True), **settings)
        self.listener.start()
        self.port = self.listener.port

    def close(self, grace: float | None = None) -> None:
        self.listener.close(grace)


class _AioClient:
    def __init__(self, loop: Loop, conn: toy.ToyClient, **where: Any) -> None:
        self.conn = conn
        self._loop = loop
        self._link: AioLink = loop.run(aio_open_link(conn, **where))

    def run(self, flow: Flow[Any]) -> Any:
        return self._loop.run(self._link.run(flow))

    def run_inside(self, flow: Flow[Any]) -> None:
        """Begin to run a flow, from within the loop."""
        work = self._link.run(flow)
        try:
            work.send(None)
        finally:
            work.close()

    def close(self) -> None:
        self._loop.run(self._link.close())

    def abort(self) -> None:
        self._loop.call(self._link.abort)


class _SyncClient:
    def __init__(self, conn: toy.ToyClient, **where: Any) -> None:
        self.conn = conn
        self._link: SyncLink = sync_open_link(conn, **where)
        self.run = self.run_inside = self._link.run
        self.close = self._link.close
        self.abort = self._link.abort


class Gate:
    """Something a hook waits for, and that a test opens. The hook says when it is there."""

    def __init__(self, adapter: Aio | Sync) -> None:
        self._adapter = adapter
        self._open = threading.Event()
        self.reached = threading.Event()

    def wait(self) -> Any:
        """Wait, in the manner of the adapter: to be returned by a hook."""
        self.reached.set()
        return self._adapter.wait_for(self._open)

    def open(self) -> None:
        self._open.set()

    def wait_reached(self) -> None:
        assert self.reached.wait(PATIENCE)


class Aio:
    """The asyncio adapter, its loop in a thread."""

    name = "aio"

    def __init__(self) -> None:
        self.loop = Loop()
        self._open: list[Any] = []

    def serve(self, handler: Any, **settings: Any) -> _AioServer:
        server = _AioServer(self.loop, handler, **settings)
        self._open.append(partial(server.close, 0))
        return server

    def connect(self, port: int = 0, limits: Limits | None = None, **settings: Any) -> _AioClient:
        where = {"host": "127.0.0.1", "port": port} if port else {}
        client = _AioClient(self.loop, toy.ToyClient(limits), **where, **settings)
        self._open.append(client.close)
        return client

    def wait_for(self, event: threading.Event) -> Any:
        return self.loop.loop.run_in_executor(None, event.wait, PATIENCE)

    def close(self) -> None:
        try:
            for close in reversed(self._open):
                close()
        finally:
            self.loop.stop()


class Sync:
    """The blocking adapter."""

    name = "sync"

    def __init__(self) -> None:
        self._open: list[Any] = []

    def serve(self, handler: Any, **settings: Any) -> _SyncServer:
        server = _SyncServer(handler, **settings)
        self._open.append(partial(server.close, 0))
        return server

    def connect(self, port: int = 0, limits: Limits | None = None, **settings: Any) -> _SyncClient:
        where = {"host": "127.0.0.1", "port": port} if port else {}
        client = _SyncClient(toy.ToyClient(limits), **where, **settings)
        self._open.append(client.close)
        return client

    def wait_for(self, event: threading.Event) -> Any:
        return event.wait(PATIENCE)

    def close(self) -> None:
        for close in reversed(self._open):
            close()


class Wire:
    """A raw peer: a socket with patience."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.buffered = b""

    @classmethod
    def to(cls, port: int) -> Wire:
        return cls(socket.create_connection(("127.0.0.1", port), PATIENCE))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        """Return the next line without its CRLF, b"" at the end."""
        while b"\r\n" not in self.buffered:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self.buffered += data
        line, _, self.buffered = self.buffered.partition(b"\r\n")
        return line

    def rest(self) -> bytes:
        """Return everything up to the end, or to the reset."""
        try:
            while data := self.sock.recv(65536):
                self.buffered += data
        except ConnectionError:
            pass
        rest, self.buffered = self.buffered, b""
        return rest

    def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def scripted(script: Callable[[Wire], None]) -> Iterator[int]:
    """Run a raw server for one connection in a thread and yield its port. What fails in it fails the test."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            sock, _ = listening.accept()
            with Wire(sock) as wire:
                script(wire)
        except BaseException as error:
            failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(PATIENCE)
        assert not thread.is_alive(), "the script did not end"
        if failures:
            raise failures[0]
