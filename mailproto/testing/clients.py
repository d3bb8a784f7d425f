"""Clients whose server is a handler in the same process.

Nobody can listen, so that both sides take logins without TLS, unless ``allow_plaintext_auth=False`` is said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mailproto import aio, sync
from mailproto._core.flow import Flow, T
from mailproto._core.policy import TLSPolicy
from mailproto._flows.beginning import admit_all
from mailproto._net.client import ClientBase
from mailproto._net.services import Service, pop3_service, smtp_service
from mailproto.aio.client import Client as AioClient
from mailproto.errors import LocalProtocolError
from mailproto.pop3.config import POP3ServerConfig
from mailproto.sasl.choice import SERVER_MECHANISMS
from mailproto.smtp.config import SMTPServerConfig
from mailproto.sync.client import Client as SyncClient
from mailproto.testing.line import Line, hold, hold_async
from mailproto.transcript import Transcript

_HOST = "127.0.0.1"
_SPOOL = 1 << 20
_CLEAR: dict[str, Any] = {"allow_plaintext_auth": True}  # unless the caller says otherwise


class _InMemory(ClientBase):
    """A client with a line in memory."""

    _line: Line | None = None

    def _aim_at(self, service: Service) -> None:
        """Have the line lead to this service."""
        if service.takes_events:
            raise LocalProtocolError("a handler over events wants a thread of its own, and so a server")
        self._service = service
        self.said = self.conn.trace = Transcript()

    def _dial(self) -> None:
        if self._line is not None:
            raise LocalProtocolError("a client connects once: make another one")
        server = self._service.connect()
        self._line = Line(self.conn, server, self._service.serve(server, _HOST, _HOST, admit_all))

    def _connected(self, flow: Flow[Any]) -> Line:
        if self._line is None:
            flow.close()
            raise LocalProtocolError("the client is not connected")
        return self._line


class _Blocking(_InMemory, SyncClient):
    """Without anything to wait for."""

    def connect(self) -> None:
        """Open the session as the arguments say; raises what a client with a network raises."""
        self._dial()
        try:
            self.run(self._begin())
        except BaseException:
            self.close()
            raise

    def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive a flow of your own, or one of the library's that has no method here."""
        return hold(self._connected(flow).run(flow, part=part))

    def close(self) -> None:
        """Close the connection without another word."""
        if self._line is not None:
            hold(self._line.close())


class _Awaiting(_InMemory, AioClient):
    """Over asyncio, so that the hooks may wait."""

    async def connect(self) -> None:
        """Open the session as the arguments say; raises what a client with a network raises."""
        self._dial()
        try:
            await self.run(self._begin())
        except BaseException:
            await self.close()
            raise

    async def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive a flow of your own, or one of the library's that has no method here."""
        return await hold_async(self._connected(flow).run(flow, part=part))

    async def close(self) -> None:
        """Close the connection without another word."""
        if self._line is not None:
            await hold_async(self._line.close())


class MemoryClient(_Blocking, sync.SMTPClient):
    """A `mailproto.sync.SMTPClient` whose server is a handler.

    Args:
        handler: an object with hooks. A coroutine among them must have nothing to wait for.
        server: how the server behaves where the RFCs leave the choice.
        arguments: those of the client that are not about the network.

    Attributes:
        said: the conversation, a `Transcript`.
    """

    def __init__(self, handler: object, *, server: SMTPServerConfig | None = None, **arguments: Any) -> None:
        super().__init__(tls=TLSPolicy.NONE, **(_CLEAR | arguments))
        self._aim_at(_smtp(handler, server))


class MemoryPOP3Client(_Blocking, sync.POP3Client):
    """A `mailproto.sync.POP3Client` whose server is a handler; see `MemoryClient`."""

    def __init__(self, handler: object, *, server: POP3ServerConfig | None = None, **arguments: Any) -> None:
        super().__init__(tls=TLSPolicy.NONE, **(_CLEAR | arguments))
        self._aim_at(_pop3(handler, server))


class AsyncMemoryClient(_Awaiting, aio.SMTPClient):
    """A `mailproto.aio.SMTPClient` whose server is a handler; see `MemoryClient`. The hooks may wait."""

    def __init__(self, handler: object, *, server: SMTPServerConfig | None = None, **arguments: Any) -> None:
        super().__init__(tls=TLSPolicy.NONE, **(_CLEAR | arguments))
        self._aim_at(_smtp(handler, server))


class AsyncMemoryPOP3Client(_Awaiting, aio.POP3Client):
    """A `mailproto.aio.POP3Client` whose server is a handler; see `MemoryClient`. The hooks may wait."""

    def __init__(self, handler: object, *, server: POP3ServerConfig | None = None, **arguments: Any) -> None:
        super().__init__(tls=TLSPolicy.NONE, **(_CLEAR | arguments))
        self._aim_at(_pop3(handler, server))


def _smtp(handler: object, config: SMTPServerConfig | None) -> Service:
    config = replace(config or SMTPServerConfig(), allow_plaintext_auth=True)
    return smtp_service(handler, config, None, False, SERVER_MECHANISMS, _SPOOL)


def _pop3(handler: object, config: POP3ServerConfig | None) -> Service:
    config = replace(config or POP3ServerConfig(), allow_plaintext_auth=True)
    return pop3_service(handler, config, None, False, SERVER_MECHANISMS)
