"""Opening a client's connection over asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, TypeAlias

from mailproto._core.connection import Connection
from mailproto._flows.engine import TLSSession
from mailproto._net.sockets import connecting, unix_address
from mailproto.aio.link import Link
from mailproto.errors import ConnectionTimeoutError

_ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside the last one (RFC 8305 section 5)."""

_Address: TypeAlias = tuple[int, Any]  # its family, and itself


async def open_link(
    conn: Connection[Any],
    host: str = "",
    port: int = 0,
    *,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    source_address: tuple[str, int] | None = None,
    timeout: float = 30.0,
    open_tls: Callable[[], TLSSession] | None = None,
) -> Link:
    """Connect to ``host`` and ``port``, to the unix socket at ``path``, or take a connected ``sock``.

    Raises:
        ConnectionTimeoutError: nobody answered within ``timeout`` seconds.
        NotSupportedError: there are no unix sockets on this system.
        OSError: there is no such host, or nobody listens.
    """
    loop = asyncio.get_running_loop()
    address = unix_address(path) if sock is None and path is not None else None
    link = Link(conn, open_tls)
    try:
        async with asyncio.timeout(timeout):
            with connecting(host, port, path):
                if address is not None:
                    await loop.create_unix_connection(lambda: link, address)
                    return link
                connected = sock if sock is not None else await _connect_to_any(host, port, source_address)
            await loop.create_connection(lambda: link, sock=connected)
    except TimeoutError:
        raise ConnectionTimeoutError(f"no connection to {path or host} within {timeout:g} seconds") from None
    return link


async def _connect_to_any(host: str, port: int, source: tuple[str, int] | None) -> socket.socket:
    """Try the addresses of ``host``, the next one when one has failed or takes long; the first to answer wins.

    ``loop.create_connection`` would do that too, but when it is cancelled between an answer and its own return, it
    leaves the socket open. Here all are closed on every way out, but the one that is returned.
    """
    loop = asyncio.get_running_loop()
    connected: list[socket.socket] = []
    failure: Exception = OSError(f"{host} has no address")

    async def attempt(family: int, address: Any) -> None:
        nonlocal failure
        try:
            connected.append(await _connect(family, address, source))
        except Exception as error:  # such as a UnicodeError for an own name that is none
            failure = error

    remaining = iter(_interleave(await _resolve(host, port)))
    attempts: set[asyncio.Task[None]] = set()
    try:
        while not connected:
            target = next(remaining, None)
            if target is not None:
                attempts.add(loop.create_task(attempt(*target)))
            elif not attempts:
                raise failure
            patience = _ATTEMPT_DELAY if target is not None else None
            _, attempts = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        return connected.pop(0)
    finally:
        for task in attempts:
            task.cancel()
        for sock in connected:
            sock.close()


async def _connect(family: int, address: Any, source: tuple[str, int] | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if source is not None:
            sock.bind((await _resolve(*source, family))[0][1])
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _resolve(host: str, port: int, family: int = 0) -> list[_Address]:
    """Return the addresses of ``host``, without asking anybody if it is one itself."""
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, family, kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=kind)
    return [(family, address) for family, _, _, _, address in found]


def _interleave(addresses: list[_Address]) -> list[_Address]:
    """Return ``addresses`` with their families in turn (RFC 8305 section 4)."""
    by_family: dict[int, list[_Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*by_family.values()) for address in turn if address is not None]
