"""Policy hosts over HTTPS that say what a test wants, and a resolver that names them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mailproto import aio
from mailproto.errors import MailProtoError
from mailproto.smtp.routing import MX
from tests import data

RECORD = b"v=STSv1; id=1;"
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.test\r\nmax_age: 604800\r\n"


def response(body: bytes = POLICY, *, status: str = "200 OK", header: str = "", media: str = "text/plain") -> bytes:
    """Return a response, whole."""
    fields = f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n{header}"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body


class PolicyHost:
    """A policy host that gives each client the same answer.

    Attributes:
        answer: what it says to whoever has asked.
        pause: seconds between two octets of it, None: it comes at once.
        requests: what it was asked.
        names: whom the clients have asked for in TLS.
    """

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.pause: float | None = None
        self.requests: list[bytes] = []
        self.names: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client."""
        with suppress(OSError, asyncio.IncompleteReadError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for octet in self.answer if self.pause is not None else b"":
                writer.write(bytes([octet]))
                await asyncio.sleep(self.pause or 0)
            writer.write(self.answer if self.pause is None else b"")
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(answer: bytes | None = None, certificate: data.KeyPair = data.SERVER) -> AsyncIterator[PolicyHost]:
    """Run a policy host meanwhile, where the library looks for it."""
    host = PolicyHost(response() if answer is None else answer)
    context = aio.server_context(*certificate)
    context.sni_callback = lambda _, name, __: host.names.append(name)
    async with await asyncio.start_server(host.serve, "127.0.0.1", ssl=context) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.sts.fetch.HTTPS_PORT", server.sockets[0].getsockname()[1])
            yield host


class Standard(BaseHTTPRequestHandler):
    """A policy host as the standard library makes one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Give the policy, where it has to be."""
        found = self.path == "/.well-known/mta-sts.txt" and self.headers["Host"] == "mta-sts.example.test"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(POLICY)))
        self.end_headers()
        self.wfile.write(POLICY)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving_once() -> Iterator[None]:
    """Run one for one client, in a thread."""
    with HTTPServer(("127.0.0.1", 0), Standard) as server, pytest.MonkeyPatch.context() as patch:
        server.socket = aio.server_context(*data.SERVER).wrap_socket(server.socket, server_side=True)
        patch.setattr("mailproto.relay.sts.fetch.HTTPS_PORT", server.server_port)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield
        thread.join()


class Names:
    """A resolver for example.test.

    Attributes:
        exchanges: its mail hosts, the best first, and their addresses; ``""`` is none. Or what is raised.
        record: the TXT record that says that it has a policy; None: there is none; or what is raised.
        asked: whose texts it was asked for.
    """

    def __init__(self, record: bytes | MailProtoError | None = RECORD) -> None:
        self.exchanges: dict[str, str] | MailProtoError = {"mail.example.test": "127.0.0.1"}
        self.record = record
        self.asked: list[str] = []

    async def mx(self, _: str) -> Sequence[MX]:
        """Return the mail hosts."""
        if isinstance(self.exchanges, MailProtoError):
            raise self.exchanges
        return [MX(number, host) for number, host in enumerate(self.exchanges)]

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the address of any host."""
        address = "127.0.0.1" if isinstance(self.exchanges, MailProtoError) else self.exchanges.get(host, "127.0.0.1")
        return [address] if address else []

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the record."""
        self.asked.append(name)
        if isinstance(self.record, MailProtoError):
            raise self.record
        return [self.record] if self.record is not None else []
