"""What both clients over asyncio do alike: connect, run flows, close."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from mailproto._core.flow import Flow, T
from mailproto._net.client import ClientBase
from mailproto.aio.connect import open_link
from mailproto.aio.link import Link
from mailproto.errors import ConnectionClosedError, LocalProtocolError
from mailproto.tunnels import open_tunnel


class Client(ClientBase):
    """A connection to a server, opened once and closed once. One operation runs at a time."""

    _link: Link | None = None
    _connecting = False
    _given_up = False  # somebody has closed it meanwhile
    _closed = False

    async def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive a flow of your own, or one of the library's that has no method here.

        Raises:
            LocalProtocolError: the client is not connected, or in another event loop, or another operation is under
                way.
        """
        if self._link is None:
            flow.close()
            raise LocalProtocolError("the client is not connected")
        self._check_loop()
        return await self._link.run(flow, part=part)

    async def connect(self) -> None:
        """Connect, and open the session as the arguments say.

        Raises:
            LocalProtocolError: it has been connected before, or is about to be.
            ConnectionClosedError: it was closed meanwhile.
            OSError: nobody listens there, or, as an ``ssl.SSLError``, TLS failed.
            MailProtoError: the session could not be opened; see the flow ``open_session``. A proxy that does not open
                the way is a `mailproto.tunnels.TunnelError`.
        """
        if self._link is not None or self._connecting:
            raise LocalProtocolError("a client connects once: make another one")
        tunnel = self._tunnel()
        self._loop = asyncio.get_running_loop()
        self._connecting = True
        try:
            self._link = await open_link(tunnel or self.conn, **self._destination())
        finally:
            self._connecting = False
        try:
            if self._given_up:
                raise ConnectionClosedError("the client was closed before it was connected")
            self._local = self._link.local
            if tunnel is not None:
                await self._link.run(open_tunnel(tunnel))
                self._link.switch(self.conn)
            await self._link.run(self._begin())
        except BaseException:
            await self.close()
            raise

    async def quit(self) -> None:
        """End the session in good order, and close the connection, whatever is raised.

        Raises:
            MailProtoError: as the flow ``quit_session`` does, when what was to be done at the end was not.
        """
        try:
            await self.run(self._quit())
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connection without another word; one that is about to be opened is closed then.

        Raises:
            LocalProtocolError: it was not closed before, and this is another event loop than that of `connect`.
        """
        self._given_up = self._connecting
        if self._link is not None and not self._closed:
            self._check_loop()
            await self._link.close()
            self._closed = True

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise LocalProtocolError(
                "a client works in the event loop in which it has connected, and each asyncio.run has one of its own"
            )

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.quit()
        else:
            await self.close()
