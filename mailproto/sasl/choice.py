"""Which mechanism a client takes: by rank, one of them, and never a weaker one after a refusal.

Falling through to the next mechanism when one fails would let whoever sits in between choose the weakest
(RFC 4422 section 6.1.2). So the choice is made once, from what is offered after TLS, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mailproto.errors import AuthenticationError
from mailproto.sasl.base import ClientMechanism, ClientMechanisms, ServerMechanisms
from mailproto.sasl.login import LoginClient, LoginServer
from mailproto.sasl.plain import PlainClient, PlainServer

CLIENT_MECHANISMS: ClientMechanisms = {mechanism.name: mechanism for mechanism in (PlainClient(), LoginClient())}
"""The mechanisms a client knows, best first."""

SERVER_MECHANISMS: ServerMechanisms = {mechanism.name: mechanism for mechanism in (PlainServer(), LoginServer())}
"""The mechanisms a server knows, best first."""


def choose_mechanism(
    offered: Collection[str],
    *,
    secure: bool,
    allowed: Sequence[str] | None = None,
    known: ClientMechanisms = CLIENT_MECHANISMS,
) -> ClientMechanism:
    """Return the mechanism to authenticate with: the first of ``allowed`` (or of ``known``) that is ``offered``.

    Args:
        offered: the names in the server's EHLO or CAPA.
        secure: whether nobody can read along. Without it no mechanism that reveals its secret is taken.
        allowed: names in the caller's order, when the caller has one.

    Raises:
        AuthenticationError: none is offered, or none that may be used in clear.
    """
    names = [name for name in (allowed if allowed is not None else known) if name in known and name in offered]
    if not names:
        raise AuthenticationError("the server offers no mechanism that can be used")
    usable = [name for name in names if secure or not known[name].reveals_secret]
    if not usable:
        raise AuthenticationError("the server offers only mechanisms that would show the password in clear")
    return known[usable[0]]
