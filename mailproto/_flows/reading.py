"""The smallest flows: wait for the next event, and for the first one."""

from __future__ import annotations

from typing import Any

from mailproto._core.connection import Connection, EventT
from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto._core.flow import FLUSH, READ, START_TLS, Flow, Sleep
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
        if event is not None and type(event) is not StartTLS:
            return event
        yield from go_on(conn, event)


def go_on(conn: Connection[EventT], event: StartTLS | None) -> Flow[None]:
    """Have done what is no event for the application: the handshake of `StartTLS`, or the wait behind None.

    Raises:
        ConnectionClosedError: as in `read_event`.
    """
    if event is None:
        if conn.closing:
            raise ConnectionClosedError("the connection is over")
        yield FLUSH if conn.output_full else READ
        return
    if isinstance(conn, ServerConnection) and conn.pending is not None:
        conn.accept()
    if not conn.closing:  # it is, when the peer sent something behind its STARTTLS
        yield START_TLS


def slow_down(conn: ServerConnection[Any]) -> Flow[None]:
    """Make a client wait that errs again and again, before the next event is read."""
    seconds = conn.take_penalty()
    if seconds > 0:
        yield Sleep(seconds)


def meet(conn: Connection[Any], greeting: Flow[None]) -> Flow[None]:
    """Wait for a server's ``greeting``. Where none comes in clear, the error has a note of what mostly is the reason.

    Raises:
        ConnectionClosedError: the server hung up, or said nothing.
    """
    try:
        yield from greeting
    except ConnectionClosedError as error:
        if conn.tls is None:
            error.add_note("No greeting came: on a port for TLS from the first octet, TLSPolicy.IMPLICIT is needed")
        raise
