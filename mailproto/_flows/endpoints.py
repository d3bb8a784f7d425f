"""Small flows and facts that the front ends of both adapters share."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from mailproto._core.connection import Connection
from mailproto._core.events import ConnectionClosed
from mailproto._core.flow import Flow
from mailproto._core.server import ServerConnection
from mailproto._flows.beginning import Admit, begin_session
from mailproto._flows.hooks import INTERNAL_ERROR, answer
from mailproto._flows.reading import read_event, slow_down
from mailproto._flows.session import Session
from mailproto.errors import ConnectionClosedError, LocalProtocolError, Reject
from mailproto.sasl.base import Credentials, CredentialsSource, check_credentials

logger = logging.getLogger("mailproto")

CommandT = TypeVar("CommandT")
ReplyT = TypeVar("ReplyT")


def ask(
    conn: Connection[Any],
    request: Callable[[Any, CommandT], Flow[ReplyT]],
    queue: Callable[..., CommandT],
    *arguments: Any,
) -> Flow[ReplyT]:
    """Queue a command and return what ``request`` makes of its reply.

    It is queued when the flow begins to run, and so not into the middle of another job.

    Raises:
        ConnectionClosedError: the connection is over; that is told each time.
    """
    if conn.closing:
        raise ConnectionClosedError("the connection is closed")
    return (yield from request(conn, queue(*arguments)))


def begin_events(session: Session[Any], *, implicit_tls: bool, admit: Admit) -> Flow[bool]:
    """Begin a session for a handler over events, see `begin_session`; return whether there is anything to handle."""
    try:
        yield from begin_session(session, implicit_tls=implicit_tls, admit=admit)
    except (ConnectionClosedError, OSError) as error:
        logger.info("%s: %s", session.peer, error)
        return False
    return True


def next_event(conn: Connection[Any], peer: str = "") -> Flow[Any]:
    """Return a server's next event, None behind `ConnectionClosed`."""
    if isinstance(conn, ServerConnection):
        yield from slow_down(conn)
    try:
        return (yield from read_event(conn))
    except ConnectionClosedError:
        return None
    except OSError as error:  # of the handshake, which is no failure of the handler's
        logger.info("%s: %s", peer, error)
        return (yield from read_event(conn))


def take_leave(conn: ServerConnection[Any], failure: Exception | None) -> Flow[None]:
    """End a connection whose handler has returned, or failed. What it left unanswered gets its safe answer.

    A transaction that is under way has nobody left to answer for it, and ends too.
    """
    if conn.pending is not None:
        if failure is None:
            conn.answer_default()
        else:
            answer(conn, failure if isinstance(failure, Reject) else INTERNAL_ERROR)
    if not conn.closing:
        conn.close()
    while conn.closing:
        event = yield from next_event(conn)
        if event is None or isinstance(event, ConnectionClosed):
            return


def log_failure(conn: ServerConnection[Any], failure: Exception | None) -> None:
    """Log what ended a handler over events, unless that is how such things end. A handler may have other connections,
    whose end is a failure of its own."""
    ended = isinstance(failure, ConnectionClosedError) and conn.over
    if failure is not None and not ended and not isinstance(failure, Reject):
        logger.error("a handler failed", exc_info=failure)


def credentials_for(
    user: str | None, password: str | None, credentials: CredentialsSource | None = None
) -> CredentialsSource | None:
    """Return the credentials that the arguments make, None for none.

    Raises:
        LocalProtocolError: one of user and password is missing, or there are other credentials as well.
        TypeError: the other ones are none, nor called to get some.
    """
    check_credentials(credentials)
    if user is None and password is None:
        return credentials
    if user is None or password is None:
        raise LocalProtocolError("a user and a password belong together")
    if credentials is not None:
        raise LocalProtocolError("either a user and a password or credentials, not both")
    return Credentials(user, password)


def need_credentials(
    user: str | None, password: str | None, credentials: CredentialsSource | None
) -> CredentialsSource:
    """Return the credentials that the arguments make.

    Raises:
        LocalProtocolError: there are none, or more than one.
    """
    needed = credentials_for(user, password, credentials)
    if needed is None:
        raise LocalProtocolError("there are no credentials to log in with")
    return needed


def host_of(address: Any) -> str:
    """Return the host of a socket's address, ``""`` for a unix socket."""
    return str(address[0]) if isinstance(address, tuple) else ""


def literal_of(address: Any) -> str:
    """Return a socket's address as an address literal (RFC 5321 section 4.1.3)."""
    host = host_of(address).partition("%")[0]
    if not host:
        return "[127.0.0.1]"
    ip = ipaddress.ip_address(host)
    if isinstance(ip, ipaddress.IPv6Address):
        return f"[{ip.ipv4_mapped}]" if ip.ipv4_mapped else f"[IPv6:{ip}]"
    return f"[{ip}]"
