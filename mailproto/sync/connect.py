"""Opening a client's connection over a blocking socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from mailproto._core.connection import Connection
from mailproto._flows.engine import TLSSession
from mailproto._net.sockets import connecting, unix_address
from mailproto.errors import ConnectionTimeoutError
from mailproto.sync.link import LONGEST, Link


def open_link(
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
    if sock is None:
        address = unix_address(path) if path is not None else None
        deadline = time.monotonic() + timeout
        try:
            with connecting(host, port, path):
                if address is not None:
                    sock = _connect(socket.AF_UNIX, address, None, deadline)
                else:
                    sock = _connect_to_any(host, port, source_address, deadline)
        except TimeoutError:
            raise ConnectionTimeoutError(f"no connection to {path or host} within {timeout:g} seconds") from None
    try:
        return Link(conn, sock, open_tls)
    except BaseException:  # the peer has reset it already, say
        sock.close()
        raise


def _connect_to_any(host: str, port: int, source: tuple[str, int] | None, deadline: float) -> socket.socket:
    """Try the addresses of ``host`` one after the other, each for its share of the time that is left.

    The first is often one of IPv6 that leads nowhere and does not say so.
    """
    failure: OSError = OSError(f"{host} has no address")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for tried, (family, _, _, _, address) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - tried)
        try:
            return _connect(family, address, source, time.monotonic() + share)
        except OSError as error:
            failure = error
    raise failure


def _connect(family: int, address: Any, source: tuple[str, int] | None, deadline: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if source is not None:
            sock.bind(source)
        sock.settimeout(min(max(deadline - time.monotonic(), 0.001), LONGEST))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
