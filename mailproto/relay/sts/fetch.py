"""Fetching the policy of a domain over HTTPS (RFC 8461 section 3.3), within a time and a size.

The octets are read over asyncio, to the end of the connection, and http.client makes a response of them then. So
there is an end to it however slowly they come, no redirect is followed, and no proxy asked.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
from collections.abc import Sequence
from typing import Protocol, cast

from mailproto.errors import MailProtoError
from mailproto.smtp.sts import MAX_POLICY, WELL_KNOWN, policy_host

HTTPS_PORT = 443
_TIMEOUT = 60.0  # seconds in all, as section 3.3 suggests
_CONNECT_TIMEOUT = 20.0  # seconds of them for each address
_MAX_RESPONSE = MAX_POLICY + (16 << 10)  # octets, the header among them
_PIECE = 16 << 10


class PolicyFetchError(MailProtoError):
    """The policy host of a domain has answered, but not with a policy."""


class AddressResolver(Protocol):
    """Knows the addresses of hosts, as a `mailproto.smtp.routing.Resolver` does."""

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the IP addresses of a host, or its own name."""


async def fetch_policy(domain: str, resolver: AddressResolver, context: ssl.SSLContext) -> bytes:
    """Return what is at ``https://mta-sts.DOMAIN/.well-known/mta-sts.txt``, which may take a minute.

    Args:
        domain: whose policy it is, in A-labels.
        resolver: who knows the addresses of its policy host.
        context: verifies the policy host.

    Raises:
        OSError: the policy host cannot be reached, takes too long, or, as an ``ssl.SSLError``, cannot prove its name.
        PolicyFetchError: it has no policy to give, or no address.
        RoutingError: nobody knows its addresses now.
        GrammarError: it is no domain in A-labels.
    """
    host = policy_host(domain)
    try:
        async with asyncio.timeout(_TIMEOUT):
            received = await _receive(host, resolver, context)
    except TimeoutError:  # which has no words of its own
        raise TimeoutError(f"{host} does not answer, or not to the end, in the time that it has") from None
    return _content(host, received)


async def _receive(host: str, resolver: AddressResolver, context: ssl.SSLContext) -> bytes:
    """Ask for the policy, and return all that is said then."""
    reader, writer = await _connect(host, resolver, context)
    try:
        writer.write(
            f"GET {WELL_KNOWN} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mailproto\r\n"
            "Accept: text/plain\r\nConnection: close\r\n\r\n".encode()
        )
        received = bytearray()
        while piece := await reader.read(_PIECE):
            received += piece
            if len(received) > _MAX_RESPONSE:
                raise PolicyFetchError(f"{host} says more than {_MAX_RESPONSE} octets")
    finally:
        writer.transport.abort()
    return bytes(received)


async def _connect(
    host: str, resolver: AddressResolver, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that can be reached."""
    failure: Exception = PolicyFetchError(f"{host} has no address")
    for address in await resolver.addresses(host):
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                return await asyncio.open_connection(address, HTTPS_PORT, ssl=context, server_hostname=host)
        except OSError as error:
            failure = error
    raise failure


class _Received:
    """What http.client reads a response from, in place of a socket."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


def _content(host: str, octets: bytes) -> bytes:
    """Return the content of a response, if it is one that may have a policy."""
    response = http.client.HTTPResponse(cast(socket.socket, _Received(octets)), method="GET")
    try:
        response.begin()
        whole = response.chunked or response.length is not None
        content = response.read()
    except (http.client.HTTPException, OverflowError) as error:  # the latter of lengths that no memory has
        raise PolicyFetchError(f"{host} does not speak HTTP, or not to the end: {error!r:.200}") from error
    media_type = response.headers.get("Content-Type", "")
    if response.status != http.HTTPStatus.OK:
        raise PolicyFetchError(f"{host} answers {response.status}, and not 200")
    if media_type.partition(";")[0].strip(" \t").lower() != "text/plain":
        raise PolicyFetchError(f"{host} has a policy of the type {media_type!a:.100}, and not of text/plain")
    if not whole:
        raise PolicyFetchError(f"{host} does not say where its policy ends, so that somebody may have cut it off")
    return content
