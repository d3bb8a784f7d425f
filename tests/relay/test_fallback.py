"""Opportunistic TLS that fails in all the ways in which a connection can: the mail goes in clear (RFC 7435)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from mailproto import aio
from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.relay import Target
from mailproto.smtp import Limits, SMTPClientConfig
from tests import data
from tests.relay import BOB, MX_NET, Host, World, in_loop, run, table

End = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Broken:
    """A mail host that offers STARTTLS, and then does to the connection what it is told to.

    Attributes:
        connections: how many there were.
        taken: the messages that came in clear.
    """

    def __init__(self, end: End, words: bytes = b"220 go ahead\r\n", greeting: bytes = b"220 hello\r\n") -> None:
        self.connections = 0
        self.taken: list[bytes] = []
        self._end = end
        self._words = words
        self._greeting = greeting
        self._tasks: set[asyncio.Task[None] | None] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Take connections meanwhile, and see them to their end."""
        async with await asyncio.start_server(self._serve, "127.0.0.1") as server:
            yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, self._tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            await self._converse(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {b"EHLO": b"250-broken\r\n250 STARTTLS\r\n", b"DATA": b"354 go on\r\n"}
        writer.write(self._greeting)
        while self._greeting and (command := (await reader.readline())[:4].upper()):
            if command == b"STAR":
                writer.write(self._words)
                await self._end(reader, writer)
                return
            writer.write(answers.get(command, b"250 well\r\n"))
            if command == b"DATA":
                self.taken.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Do nothing more, and so end the connection."""


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Drop the connection without a FIN, once the handshake has begun."""
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing any more for as long as the other side is there."""
    await reader.read()


async def hang_up_under_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shake hands, and hang up."""
    await writer.start_tls(aio.server_context(*data.SELF_SIGNED))


IMPATIENT = Limits(handshake_timeout=0.2)
AGREED = b"220 go ahead\r\n"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (hang_up, AGREED),
        (hang_up, b""),
        (reset, AGREED),
        (stall, AGREED),
        (stall, b""),
        (hang_up_under_tls, AGREED),
        (stall, AGREED + b"250-evil\r\n250 AUTH PLAIN\r\n"),
        (stall, AGREED + b"2"),
        (stall, b"nonsense\r\n"),
    ],
)
def test_where_the_connection_breaks_over_tls_mail_goes_without(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: End, words: bytes
) -> None:
    """RFC 7435 section 3: once, over another connection, and the log says so."""
    limits = IMPATIENT if words else replace(IMPATIENT, command_timeout=2.0)
    monkeypatch.setattr("mailproto.relay.connecting.SMTPClientConfig", lambda **_: SMTPClientConfig(limits=limits))

    async def test(world: World) -> None:
        broken = Broken(end, words)
        async with broken.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
        assert (broken.connections, len(broken.taken)) == (2, 1)
        assert world.queue.names() == []

    run(test, world)
    (line,) = caplog.messages
    assert "mx.example.net" in line
    assert "in clear" in line


@pytest.mark.parametrize("policy", [TLSPolicy.REQUIRED, TLSPolicy.OPPORTUNISTIC])
def test_a_client_of_your_own_goes_by_its_own_policy(world: World, policy: TLSPolicy) -> None:
    """Whether TLS is required, or credentials are not for everybody's ears, the relay cannot know."""

    async def test(world: World) -> None:
        broken = Broken(hang_up)
        async with broken.listening() as port:

            def make_client(target: Target) -> aio.SMTPClient:
                return aio.SMTPClient(target.address, port, tls=policy, user="ada", password="amazing")

            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=make_client).attempt_due()
        assert (broken.connections, broken.taken) == (1, [])
        assert len(world.entries()) == 1

    run(test, world)


@pytest.mark.parametrize("greeting", [b"", b"421 Too busy\r\n"])
def test_a_host_that_never_came_to_tls_is_not_asked_again(
    world: World, greeting: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(world: World) -> None:
        broken = Broken(hang_up, greeting=greeting)
        async with broken.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
        assert (broken.connections, len(world.entries())) == (1, 1)

    run(test, world)


def test_a_host_that_fails_in_clear_as_well_is_tried_twice_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(Broken):
        async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self.connections == 1:
                await super()._converse(reader, writer)

    async def test(world: World) -> None:
        closed = Closed(hang_up)
        async with closed.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
        assert (closed.connections, len(world.entries())) == (2, 1)

    run(test, world)


@pytest.mark.parametrize("certificate", [data.SELF_SIGNED, data.EXPIRED, data.WRONG_NAME])
def test_any_certificate_is_better_than_none(
    world: World, certificate: data.KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7435: nobody vouches for it, but who only listens hears nothing."""
    context = aio.server_context(certificate.certificate, certificate.key)

    async def test(world: World) -> None:
        host = Host()
        async with aio.SMTPServer(host, port=0, tls=context) as server:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", server.port)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
        assert host.secure == [True]

    run(test, world)


@in_loop
async def test_an_address_literal_is_no_name_of_a_server(world: World) -> None:
    """RFC 6066 section 3: a server may break off the handshake over one."""
    names: list[str | None] = []
    context = aio.server_context(data.SERVER.certificate, data.SERVER.key)
    context.sni_callback = lambda _, name, __: names.append(name)
    async with aio.SMTPServer(Host(), port=0, tls=context) as server:
        world.put(Address("bob", "[127.0.0.1]"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.connecting.RELAY_PORT", server.port)
            await world.relay(table(), make_client=None).attempt_due()
    assert world.queue.names() == []
    assert names == [None]


@in_loop
async def test_where_tls_fails_mail_goes_without(world: World) -> None:
    """RFC 7435 section 3: to a host that offers STARTTLS and cannot do it, rather than not at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate
    host = Host()
    async with aio.SMTPServer(host, port=0, tls=context) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.connecting.RELAY_PORT", server.port)
            world.put(BOB)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
    assert host.secure == [False, False]
    assert world.queue.names() == []
