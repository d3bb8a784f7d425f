"""The server's side of AUTH, the same for SMTP (RFC 4954) and POP3 (RFC 5034)."""

from __future__ import annotations

from typing import Any, TypeVar

from mailproto._core.flow import Flow
from mailproto._core.server import ServerConnection
from mailproto._flows.hooks import call_hook
from mailproto._flows.reading import read_event
from mailproto.errors import GrammarError, Reject
from mailproto.sasl.base import Auth, AuthResponse, Challenge, Identity, Question, ServerMechanisms

EventT = TypeVar("EventT")

MALFORMED = Reject(501, "Malformed authentication response", "5.5.2")


def authenticate(
    conn: ServerConnection[EventT], event: Auth, mechanisms: ServerMechanisms, handler: Any, session: Any
) -> Flow[Identity | None]:
    """Carry on the exchange that ``event`` begins, up to its outcome, which is left to the caller to answer.

    Returns:
        The identity, or None if the client failed to prove it; then the last event is still pending. None with
        nothing pending means that the client gave up, or is gone: then ``conn.closing`` is true.

    Raises:
        Reject: a response broke the mechanism's grammar, or the application refused in its own words.
    """
    exchange = mechanisms[event.mechanism].start(event.initial_response)
    reply: object = None
    while True:
        try:
            step = exchange.send(reply)
        except StopIteration as stop:
            identity: Identity | None = stop.value
            return identity
        except GrammarError:
            raise MALFORMED from None
        if isinstance(step, Question):
            reply = yield from _ask(step, handler, session)
        else:
            response = yield from _challenge(conn, step)
            if response is None:
                return None
            reply = response


def _ask(question: Question, handler: Any, session: Any) -> Flow[Any]:
    """Put a mechanism's question to the application; where nobody answers it, the answer is no."""
    hook = getattr(handler, question.hook, None)
    if hook is None:
        return None
    return (yield from call_hook(hook, session, question))


def _challenge(conn: ServerConnection[EventT], challenge: Challenge) -> Flow[bytes | None]:
    conn.challenge(challenge.data)
    event = yield from read_event(conn)
    return event.data if isinstance(event, AuthResponse) else None
