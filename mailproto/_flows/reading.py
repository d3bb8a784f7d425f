"""The smallest flow: wait for the next event."""

from __future__ import annotations

from mailproto._core.connection import Connection, EventT
from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto._core.flow import FLUSH, READ, START_TLS, Flow
from mailproto._core.server import ServerConnection
from mailproto.errors import ConnectionClosedError


def read_event(conn: Connection[EventT]) -> Flow[EventT | ConnectionClosed]:
    """Return the next event. An event that nobody answered gets its safe answer first; TLS is seen to on the way.

    Raises:
        ConnectionClosedError: `ConnectionClosed` was read before, and there is nothing behind it.
    """
    if conn.pending is not None and isinstance(conn, ServerConnection):
        conn.answer_default()
    while True:
        event = conn.next_event()
        if event is None:
            if conn.closing:
                raise ConnectionClosedError("the connection is over")
            yield FLUSH if conn.output_full else READ
        elif type(event) is StartTLS:
            yield from start_tls(conn)
        else:
            return event


def start_tls(conn: Connection[EventT]) -> Flow[None]:
    """Agree to the TLS handshake if it is ours to agree to, and have it done."""
    if isinstance(conn, ServerConnection) and conn.pending is not None:
        conn.accept()
    if not conn.closing:  # it is, when the peer sent something behind its STARTTLS
        yield START_TLS
