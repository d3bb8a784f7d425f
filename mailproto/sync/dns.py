"""Asking the DNS over blocking sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from contextlib import closing

from mailproto._net.dns import Asking, ResolverBase, T
from mailproto.address import Address
from mailproto.dns.discovery import POP3, SUBMISSION, MailServer
from mailproto.dns.lookup import Lookup, Query
from mailproto.smtp.routing import MX
from mailproto.sync.link import LONGEST

_PIECE = 64 << 10  # more than a datagram can have


class DNSResolver(ResolverBase):
    __doc__ = ResolverBase.__doc__

    def mx(self, domain: str) -> list[MX]:
        """Return the MX records of a domain in A-labels, aliases followed; none if it has none.

        Raises:
            RoutingError: there is no such domain, or no server can tell.
        """
        return self._run(self._mx(domain))

    def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a host, those of IPv6 first; none if it has none.

        Raises:
            RoutingError: no server can tell.
        """
        return self._run(self._addresses(host))

    def txt(self, name: str) -> list[bytes]:
        """Return the TXT records of a name in A-labels, the strings of each joined, aliases followed; none if it has
        none, or there is no such name.

        Raises:
            LookupFailedError: no name server can tell.
        """
        return self._run(self._txt(name))

    def submission_servers(self, address: str | Address) -> list[MailServer]:
        """Return the servers that take mail from the user of an address, the best first; none if his domain does not
        say (RFC 6186). See `mailproto.dns.MailServer` for when to trust them.

        Raises:
            GrammarError: it is no address.
            LookupFailedError: no name server can tell.
        """
        return self._run(self._mail_servers(address, SUBMISSION))

    def pop3_servers(self, address: str | Address) -> list[MailServer]:
        """Return the servers that have the mail of an address, the best first; the rest is as in
        `submission_servers`."""
        return self._run(self._mail_servers(address, POP3))

    def _run(self, lookup: Lookup[T]) -> T:
        asking = Asking(lookup)
        while (query := asking.query) is not None:
            exchange = _stream if query.stream else _datagrams
            try:
                with closing(exchange(query, self._port, time.monotonic() + query.timeout)) as pieces:
                    while asking.query is query:
                        asking.hear(next(pieces, None))
            except (OSError, UnicodeError):  # the latter from names of interfaces
                asking.hear(None)
        return asking.result


def _datagrams(query: Query, port: int, deadline: float) -> Generator[bytes, None, None]:
    """Send the query from a port of its own, and yield each datagram that its server sends there."""
    with _open(query, port, deadline) as sock:
        sock.send(query.octets)
        while True:
            _limit(sock, deadline)
            yield sock.recv(_PIECE)


def _stream(query: Query, port: int, deadline: float) -> Generator[bytes, None, None]:
    """Send the query over a connection, and yield each piece of what comes back."""
    with _open(query, port, deadline) as sock:
        sock.sendall(query.octets)
        _limit(sock, deadline)
        while piece := sock.recv(_PIECE):
            yield piece
            _limit(sock, deadline)


def _open(query: Query, port: int, deadline: float) -> socket.socket:
    """Return a socket that is connected to the server: what comes from anybody else the system drops."""
    kind = socket.SOCK_STREAM if query.stream else socket.SOCK_DGRAM
    family, _, _, _, address = socket.getaddrinfo(query.server, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind)
    try:
        _limit(sock, deadline)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _limit(sock: socket.socket, deadline: float) -> None:
    """Have the next operation take no longer than until ``deadline``."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the name server took too long")
    sock.settimeout(min(left, LONGEST))
