"""Which mechanisms there are, which of them a server offers, and which one a client takes.

A client takes one, by rank, and never a weaker one after a refusal: falling through to the next mechanism when one
fails would let whoever sits in between choose the weakest (RFC 4422 section 6.1.2). So the choice is made once, from
what is offered after TLS, before anything is sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from mailproto._core.events import TLSInfo
from mailproto.errors import AuthenticationError
from mailproto.sasl.anonymous import AnonymousClient, AnonymousServer
from mailproto.sasl.base import ClientMechanism, ClientMechanisms, Credentials, ServerMechanism, ServerMechanisms
from mailproto.sasl.binding import server_bindings
from mailproto.sasl.cram_md5 import CramMD5Client, CramMD5Server
from mailproto.sasl.external import ExternalClient, ExternalServer
from mailproto.sasl.login import LoginClient, LoginServer
from mailproto.sasl.plain import PlainClient, PlainServer
from mailproto.sasl.scram import PLUS
from mailproto.sasl.scram_client import ScramClient
from mailproto.sasl.scram_key import HASHES, ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS
from mailproto.sasl.scram_server import ScramServer
from mailproto.sasl.tokens import OAuthBearerClient, OAuthBearerServer, XOAuth2Client, XOAuth2Server

ONLY_BY_NAME = frozenset({"CRAM-MD5", "ANONYMOUS"})
"""What a client does not use unless its caller names it."""

MechanismT = TypeVar("MechanismT", ClientMechanism, ServerMechanism)

_SCRAMS = tuple((hash_name, plus) for plus in (True, False) for hash_name in reversed(HASHES))


def client_mechanisms(
    *, min_iterations: int = MIN_ITERATIONS, max_iterations: int = MAX_ITERATIONS
) -> ClientMechanisms:
    """Return the mechanisms that a client knows, best first, with bounds of your own for SCRAM's iterations."""
    scrams = [
        ScramClient(hash_name, plus, min_iterations=min_iterations, max_iterations=max_iterations)
        for hash_name, plus in _SCRAMS
    ]
    tokens = (OAuthBearerClient(), XOAuth2Client())
    others = (ExternalClient(), PlainClient(), LoginClient(), CramMD5Client(), AnonymousClient())
    return _by_name([*scrams, *tokens, *others])


def server_mechanisms(*, secret: bytes | None = None, iterations: int = ITERATIONS) -> ServerMechanisms:
    """Return the mechanisms that a server knows, best first.

    Args:
        secret: keeps what SCRAM tells about users who are not known the same when the server starts again; see
            `ScramServer`. Without one it is made up now.
        iterations: as many as the SCRAM keys have.
    """
    secret = secrets.token_bytes(32) if secret is None else secret
    scrams = [ScramServer(hash_name, plus, secret=secret, iterations=iterations) for hash_name, plus in _SCRAMS]
    tokens = (OAuthBearerServer(), XOAuth2Server())
    others = (ExternalServer(), PlainServer(), LoginServer(), CramMD5Server(), AnonymousServer())
    return _by_name([*scrams, *tokens, *others])


class _ByName(dict[str, MechanismT]):
    """Mechanisms by name. It is the default of many an argument, and shown by names alone in the help of each."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


def _by_name(mechanisms: Iterable[MechanismT]) -> Mapping[str, MechanismT]:
    return _ByName({mechanism.name: mechanism for mechanism in mechanisms})


CLIENT_MECHANISMS: ClientMechanisms = client_mechanisms()
"""The mechanisms a client knows, best first."""

SERVER_MECHANISMS: ServerMechanisms = server_mechanisms()
"""The mechanisms a server knows, best first. Which of them it offers its config says."""


def default_mechanisms(handler: object, known: ServerMechanisms = SERVER_MECHANISMS) -> tuple[str, ...]:
    """Return the names of the mechanisms to offer where nobody has named any: those that a handler surely answers.

    A handler with ``on_scram_key`` is asked for keys of SHA-256; one with ``on_auth`` is asked about passwords.
    Tokens, certificates and the rest are questions of other kinds, and have to be offered by name. So has channel
    binding: a client that sees it offered takes it, and on TLS 1.3 with a type that ``ssl`` cannot give us.
    """
    names: list[str] = []
    if hasattr(handler, "on_scram_key"):
        names.append("SCRAM-SHA-256")
    if hasattr(handler, "on_auth"):
        names += ["PLAIN", "LOGIN"]
    return tuple(name for name in names if name in known)


def offerable(names: Iterable[str], tls: TLSInfo | None) -> tuple[str, ...]:
    """Return those of a server's mechanisms that can work in this TLS session, in their order.

    What binds to the session needs something to bind to, and EXTERNAL a certificate of the client's.
    """
    binds = bool(server_bindings(tls))
    certified = tls is not None and bool(tls.peer_certificate)
    return tuple(
        name for name in names if (binds or not name.endswith(PLUS)) and (certified or name != ExternalServer.name)
    )


def choose_mechanism(
    offered: Collection[str],
    *,
    secure: bool,
    allowed: Sequence[str] | None = None,
    known: ClientMechanisms = CLIENT_MECHANISMS,
    credentials: Credentials | None = None,
    can_bind: bool = False,
    must_bind: bool = False,
    minimum: str | None = None,
) -> ClientMechanism:
    """Return the mechanism to authenticate with: the first of ``allowed`` (or of ``known``) that is ``offered``.

    Args:
        offered: the names in the server's EHLO or CAPA.
        secure: whether nobody can read along. Without it no mechanism that reveals its secret is taken.
        allowed: names in the caller's order, when the caller has one.
        known: the mechanisms by name, best first.
        credentials: what there is to authenticate with: a mechanism that it does not fit is not taken.
        can_bind: whether there is data for channel binding, without which no -PLUS is taken.
        must_bind: take nothing but a -PLUS.
        minimum: the name of the last mechanism in the order of ``known`` that may be taken.

    Raises:
        AuthenticationError: none is offered, or none that may be used in clear.
    """
    names = allowed if allowed is not None else [name for name in known if name not in ONLY_BY_NAME]
    ranks = {name: rank for rank, name in enumerate(known)}
    last = ranks.get(minimum, -1) if minimum is not None else len(ranks)
    names = [name for name in names if name in offered and ranks.get(name, last + 1) <= last]
    names = [name for name in names if (can_bind if name.endswith(PLUS) else not must_bind)]
    if credentials is not None:
        names = [name for name in names if known[name].fits(credentials)]
    if not offered:
        raise AuthenticationError("the server offers no way to log in; in clear many do not")
    if not names:
        raise AuthenticationError(f"no mechanism that the server offers can be used: {', '.join(offered):.200}")
    usable = [name for name in names if secure or not known[name].reveals_secret]
    if not usable:
        raise AuthenticationError("the server offers only mechanisms that would show the password in clear")
    return known[usable[0]]
