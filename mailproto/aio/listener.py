"""Listening over asyncio: who comes in, who is served, and how it ends. Nothing here knows a protocol."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Self

from mailproto._net.listener import ListenerBase, Verdict, closed_for_good
from mailproto.aio.link import Link

logger = logging.getLogger("mailproto")

_MOMENT = 1.0
"""Seconds for what was cut off to tidy up."""

_ACCEPTING = 2
"""Steps of the loop from a connection that was accepted to its protocol that knows of it."""


class Listener(ListenerBase):
    __doc__ = ListenerBase.__doc__

    def _prepare(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._closing = False
        self._grace = self.options.grace
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen, if that was not done yet.

        Raises:
            LocalProtocolError: the server was closed.
            OSError: an address is not known, not ours, or in use.
        """
        if self._closing:
            raise closed_for_good()
        if self._sockets is not None:
            return
        loop = asyncio.get_running_loop()
        self._sockets = self._open_sockets()
        try:
            for sock in self._sockets.sockets:
                # The loop takes its backlog for the connections to accept at a time, too; where there are no
                # descriptors left, it fails, logs that and tries again for each of them, and so fills the disk.
                self._servers.append(await loop.create_server(self._accept, sock=sock, backlog=1))
                sock.listen(self.options.backlog)
        except BaseException:
            await self.close(0)  # for who was to have it has it not
            raise

    async def serve_forever(self) -> None:
        """Listen until `close` is called elsewhere, or until this is cancelled.

        If it was called already, there is nothing to wait for.
        """
        if self._closing:
            return
        async with self:
            await self._stopped.wait()

    async def close(self, grace: float | None = None) -> None:
        """Stop listening for good, let the transactions under way finish, and close all connections.

        Args:
            grace: seconds until what has not finished is cut off; None takes that of the options, or, where it closes
                already, what was said then.
        """
        self._grace = self._grace if grace is None else grace
        self._closing = True
        self._stopped.set()
        try:
            await self._stop_listening()
            for link in tuple(self._links):
                link.shut_down()
            await self._wait_until_empty(self._grace)
        finally:
            for link in tuple(self._links):
                link.abort()
        await self._wait_until_empty(_MOMENT)
        if self._links:
            logger.error("%d connections are left: their hooks do not end", len(self._links))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _stop_listening(self) -> None:
        """Let in nobody any more, but see who has been accepted already, lest asyncio leaves him open."""
        sockets = self._sockets.sockets if self._sockets is not None else ()
        try:
            for sock in sockets:
                with suppress(NotImplementedError, ValueError):  # a loop without readers, or closed before
                    asyncio.get_running_loop().remove_reader(sock)
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
        finally:
            for server in self._servers:
                server.close()
            if self._sockets is not None:
                self._sockets.close()

    async def _wait_until_empty(self, seconds: float) -> None:
        self._empty.clear()
        if self._links:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def _accept(self) -> Link:
        return Link(self._connect(), self._open_tls(), on_open=self._opened, on_close=self._forget)

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
        self._count_off(link)
        if not self._links:
            self._empty.set()
