"""Asking the DNS over asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from mailproto._net.dns import Asking, ResolverBase, T
from mailproto.address import Address
from mailproto.dns.discovery import POP3, SUBMISSION, MailServer
from mailproto.dns.lookup import Lookup, Query
from mailproto.smtp.routing import MX

_PIECE = 64 << 10
_MAX_WAITING = 64  # datagrams that came and were not looked at yet; who sends more is not the server


class DNSResolver(ResolverBase):
    __doc__ = ResolverBase.__doc__

    async def mx(self, domain: str) -> list[MX]:
        """Return the MX records of a domain in A-labels, aliases followed; none if it has none.

        Raises:
            RoutingError: there is no such domain, or no server can tell.
        """
        return await self._run(self._mx(domain))

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a host, those of IPv6 first; none if it has none.

        Raises:
            RoutingError: no server can tell.
        """
        return await self._run(self._addresses(host))

    async def txt(self, name: str) -> list[bytes]:
        """Return the TXT records of a name in A-labels, the strings of each joined, aliases followed; none if it has
        none, or there is no such name.

        Raises:
            LookupFailedError: no name server can tell.
        """
        return await self._run(self._txt(name))

    async def submission_servers(self, address: str | Address) -> list[MailServer]:
        """Return the servers that take mail from the user of an address, the best first; none if his domain does not
        say (RFC 6186). See `mailproto.dns.MailServer` for when to trust them.

        Raises:
            GrammarError: it is no address.
            LookupFailedError: no name server can tell.
        """
        return await self._run(self._mail_servers(address, SUBMISSION))

    async def pop3_servers(self, address: str | Address) -> list[MailServer]:
        """Return the servers that have the mail of an address, the best first; the rest is as in
        `submission_servers`."""
        return await self._run(self._mail_servers(address, POP3))

    async def _run(self, lookup: Lookup[T]) -> T:
        asking = Asking(lookup)
        while (query := asking.query) is not None:
            exchange = _stream if query.stream else _datagrams
            try:
                async with asyncio.timeout(query.timeout), aclosing(exchange(query, self._port)) as pieces:
                    while asking.query is query:
                        asking.hear(await anext(pieces, None))
            except (OSError, UnicodeError):  # the latter from names of interfaces
                asking.hear(None)
        return asking.result


async def _datagrams(query: Query, port: int) -> AsyncGenerator[bytes, None]:
    """Send the query from a port of its own, and yield each datagram that its server sends there."""
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(_Inbox, remote_addr=(query.server, port))
    try:
        transport.sendto(query.octets)
        while True:
            came = await inbox.queue.get()
            if isinstance(came, Exception):
                raise came
            yield came
    finally:
        transport.close()


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, _: object) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc)

    def _put(self, came: bytes | Exception) -> None:
        if self.queue.qsize() < _MAX_WAITING:
            self.queue.put_nowait(came)


async def _stream(query: Query, port: int) -> AsyncGenerator[bytes, None]:
    """Send the query over a connection, and yield each piece of what comes back."""
    reader, writer = await asyncio.open_connection(query.server, port)
    try:
        writer.write(query.octets)
        while piece := await reader.read(_PIECE):
            yield piece
    finally:
        writer.transport.abort()
