"""Listening over asyncio: who comes in, who is served, and how it ends. Nothing here knows a protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from mailproto._core.connection import Connection
from mailproto._net.listening import Admission, ServerOptions, Sockets, Verdict
from mailproto._net.tls import server_tls
from mailproto.aio.link import Link

logger = logging.getLogger("mailproto")

_MOMENT = 1.0
"""Seconds for what was cut off to tidy up."""


class Listener:
    """Listening sockets, and the connections that came through them.

    Args:
        connect: makes the state machine of a new connection.
        serve: begins to serve a link, with `Link.start` or `Link.attend`.
        host: a name or an address to listen on, several of them, or None for all of the machine.
        port: 0 has the system choose one.
        path: listen on a unix socket instead.
        sock: listen on this bound socket instead.
        tls: the context for handshakes. It may be replaced while the server runs; new connections take the new one.
        implicit_tls: every connection begins with the handshake, so that one too many cannot be told in clear.
        options: the caps, and the rest.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        serve: Callable[[Link], None],
        host: str | Sequence[str] | None = "127.0.0.1",
        port: int = 0,
        *,
        path: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        options: ServerOptions | None = None,
    ) -> None:
        self.tls = tls
        self.options = options if options is not None else ServerOptions()
        self._connect = connect
        self._serve = serve
        self._implicit_tls = implicit_tls
        self._where = (host, port, path, sock)
        self._sockets: Sockets | None = None
        self._servers: list[asyncio.Server] = []
        self._links: set[Link] = set()
        self._admission = Admission(self.options)
        self._closing = False
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is listened on, the real one where 0 was asked for; 0 for a unix socket."""
        return self._sockets.port if self._sockets is not None else 0

    @property
    def addresses(self) -> tuple[Any, ...]:
        """The socket addresses that are listened on."""
        return self._sockets.addresses if self._sockets is not None else ()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    async def start(self) -> None:
        """Begin to listen, if that was not done yet.

        Raises:
            OSError: an address is not known, not ours, or in use.
        """
        if self._sockets is not None:
            return
        loop = asyncio.get_running_loop()
        self._sockets = await loop.run_in_executor(None, Sockets, *self._where, self.options)
        for sock in self._sockets.sockets:
            self._servers.append(await loop.create_server(self._accept, sock=sock, backlog=self.options.backlog))

    async def serve_forever(self) -> None:
        """Listen until `close` is called elsewhere, or until this is cancelled."""
        async with self:
            await self._stopped.wait()

    async def close(self, grace: float | None = None) -> None:
        """Stop listening, let the transactions under way finish, and close all connections.

        Args:
            grace: seconds until what has not finished is cut off; None takes that of the options.
        """
        self._closing = True
        self._stopped.set()
        for server in self._servers:
            server.close()
        if self._sockets is not None:
            self._sockets.close()
        try:
            for link in tuple(self._links):
                link.shut_down()
            await self._wait_until_empty(self.options.grace if grace is None else grace)
        finally:
            for link in tuple(self._links):
                link.abort()
        await self._wait_until_empty(_MOMENT)
        if self._links:
            logger.error("%d connections are left: their hooks do not end", len(self._links))

    async def __aenter__(self) -> Listener:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _wait_until_empty(self, seconds: float) -> None:
        self._empty.clear()
        if self._links:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def _accept(self) -> Link:
        open_tls = server_tls(self.tls) if self.tls is not None else None
        return Link(self._connect(), open_tls, on_open=self._opened, on_close=self._forget)

    def _opened(self, link: Link) -> None:
        self._links.add(link)
        verdict = self._admission.enter(link.peer)
        if verdict is Verdict.SERVE and not self._closing:
            try:
                self._serve(link)
            except Exception:
                logger.exception("a connection could not be served")
                link.abort()
        elif verdict is Verdict.DROP or self._implicit_tls:
            link.abort()
        else:
            link.refuse()

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._admission.leave(link.peer)
        if not self._links:
            self._empty.set()
