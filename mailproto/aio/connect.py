"""Opening a client's connection over asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from mailproto._core.connection import Connection
from mailproto._flows.engine import TLSSession
from mailproto.aio.link import Link
from mailproto.errors import ConnectionTimeoutError

_ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside the last one (RFC 8305 section 5)."""


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
        OSError: there is no such host, or nobody listens.
    """
    loop = asyncio.get_running_loop()
    link = Link(conn, open_tls)
    try:
        async with asyncio.timeout(timeout):
            if sock is not None:
                await loop.create_connection(lambda: link, sock=sock)
            elif path is not None:
                await loop.create_unix_connection(lambda: link, os.fspath(path))
            else:
                await loop.create_connection(
                    lambda: link,
                    host,
                    port,
                    local_addr=source_address,
                    happy_eyeballs_delay=_ATTEMPT_DELAY,
                )
    except TimeoutError:
        raise ConnectionTimeoutError(f"no connection to {path or host} within {timeout:g} seconds") from None
    return link
