"""The server's side of AUTH, the same for SMTP (RFC 4954) and POP3 (RFC 5034)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from mailproto._core.flow import Call, Flow
from mailproto._core.server import ServerConnection
from mailproto._flows.hooks import call_hook
from mailproto._flows.reading import read_event
from mailproto.errors import GrammarError, Reject
from mailproto.sasl.base import (
    Auth,
    AuthResponse,
    Challenge,
    Channel,
    Compute,
    Identity,
    InitialResponseError,
    Question,
    Request,
    ServerMechanisms,
)
from mailproto.sasl.identity import AUTH_HOOKS, name_of
from mailproto.sasl.scram_key import ScramKey, ScramPassword

EventT = TypeVar("EventT")

logger = logging.getLogger("mailproto")

MALFORMED = Reject(501, "Malformed authentication response", "5.5.2")
NO_INITIAL_RESPONSE = Reject(501, "The server begins this exchange", "5.7.0")
NOT_KNOWN = Reject(504, "Authentication mechanism not available", "5.5.4")


def authenticate(
    conn: ServerConnection[EventT],
    event: Auth,
    mechanisms: ServerMechanisms,
    handler: Any,
    session: Any,
    delay: Callable[[], Flow[None]],
) -> Flow[Identity | None]:
    """Carry on the exchange that ``event`` begins, up to its outcome, which is left to the caller to answer.

    When the client breaks off an exchange that it has lost already, it is made to wait by ``delay``.

    Returns:
        The identity, or None if the client failed to prove it; then the last event is still pending. None with
        nothing pending means that the client gave up, or is gone: then ``conn.closing`` is true.

    Raises:
        Reject: a response broke the mechanism's grammar, or the application refused in its own words.
    """
    mechanism = mechanisms.get(event.mechanism)
    if mechanism is None:
        logger.error("the mechanism %s is offered, and nobody knows it", event.mechanism)
        raise NOT_KNOWN
    channel = Channel(conn.tls, conn.auth_mechanisms)
    exchange = mechanism.start(event.initial_response)
    reply: object = None
    try:
        while True:
            step = exchange.send(reply)
            if isinstance(step, Challenge):
                reply = yield from _challenge(conn, step)
                if reply is None and step.refuses and not conn.closing:
                    yield from delay()
                if reply is None:
                    return None
            else:
                reply = yield from _grant(step, channel, handler, session)
                if conn.closing:  # the application has dropped the client
                    return None
    except StopIteration as stop:
        identity: Identity | None = stop.value
        return identity
    except InitialResponseError:
        raise NO_INITIAL_RESPONSE from None
    except GrammarError:
        raise MALFORMED from None
    finally:
        exchange.close()


def _grant(request: Request, channel: Channel, handler: Any, session: Any) -> Flow[Any]:
    """Return what a mechanism wants; to a question that nobody answers, the answer is no."""
    if isinstance(request, Compute):
        return (yield Call(request.function, request.arguments, slow=True))
    if not isinstance(request, Question):
        return channel
    hook = getattr(handler, request.hook, None)
    if hook is None:
        return None
    ask = ask_hook if request.hook in AUTH_HOOKS else call_hook  # one of one's own has any answer
    return (yield from ask(hook, session, *request.arguments()))


def ask_hook(hook: Any, session: Any, *arguments: Any) -> Flow[Any]:
    """Return what a hook answers to a question about a login. What is neither yes nor no is a no, and logged."""
    said = yield from call_hook(hook, session, *arguments)
    if said and not isinstance(said, ScramKey | ScramPassword) and not name_of(said, "true"):
        logger.error("a hook answered with what lets nobody in: %s", type(said).__name__)
    return said


def _challenge(conn: ServerConnection[EventT], challenge: Challenge) -> Flow[bytes | None]:
    conn.challenge(challenge.data, refused=challenge.refuses)
    event = yield from read_event(conn)
    return event.data if isinstance(event, AuthResponse) else None
