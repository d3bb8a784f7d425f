"""How a server's connection begins, before the protocol: the load balancer's word, whom to trust, implicit TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mailproto._core.events import ConnectionClosed
from mailproto._core.flow import Flow, Want
from mailproto._core.peers import is_among, plain_address
from mailproto._flows.session import UNKNOWN, Session
from mailproto.errors import ConnectionClosedError

Admit: TypeAlias = Callable[[str], bool]
"""Called with the address of a client that a load balancer has brought: whether there is room for it."""


def admit_all(_: str) -> bool:
    """Have room for every client."""
    return True


def begin_session(session: Session[Any], *, implicit_tls: bool, admit: Admit) -> Flow[None]:
    """Learn from the load balancer who the client is, where the config names one, and do the handshake if it is due.

    Raises:
        ConnectionClosedError: the peer is no load balancer that is trusted, or does not behave as one; or there is
            no room for its client.
    """
    if session.conn.config.proxies:
        yield from _meet_proxy(session, implicit_tls)
        if session.peer not in (session.transport_peer, UNKNOWN) and not admit(session.peer):
            session.conn.shut_down()
            yield Want.FLUSH
            raise ConnectionClosedError("too many connections from the address of the client")
    session.conn.trusted = is_among(session.peer, session.conn.config.trusted_peers)
    if implicit_tls:  # where the client speaks first, and may have before this flow took its first step
        session.conn.trailing_data += session.conn.take_rest()
        yield Want.START_TLS


def _meet_proxy(session: Session[Any], implicit_tls: bool) -> Flow[None]:
    conn = session.conn
    if not is_among(session.transport_peer, conn.config.proxies):
        raise ConnectionClosedError("the peer is none of the load balancers")
    conn.expect_proxy_header(tls_first=implicit_tls)
    while (event := conn.next_event()) is None and not conn.closing and conn.proxy_header is None:
        yield Want.READ
    if conn.proxy_header is None:
        why = f": {event.reason}" if isinstance(event, ConnectionClosed) else ""
        raise ConnectionClosedError(f"the load balancer did not tell who the client is{why}")
    header = conn.proxy_header
    if header.over_ip:
        session.peer, session.local = plain_address(header.source), plain_address(header.destination)
    elif not header.local:  # a client of whom nothing is known is not the balancer, whom we may trust
        session.peer = session.local = UNKNOWN
