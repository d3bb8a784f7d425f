"""What a SASL mechanism is here: a tiny machine from challenge to response (RFC 4422 section 3), for both sides.

A mechanism is a generator, so that a dialogue of any length reads from top to bottom. It knows neither SMTP nor
POP3, neither base64 nor the network. No initial response and an empty one are different things: None and ``b""``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias


@dataclass(slots=True)
class Auth:
    """A server's event: the client wants to authenticate. Answer: ``challenge``, ``accept`` or ``reject``.

    ``initial_response`` is None when the client sent none.
    """

    mechanism: str
    initial_response: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class AuthResponse:
    """A server's event: the client's response to the last challenge. Answered like `Auth`."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client authenticates with.

    ``username`` is whose secret it is (authcid); ``authzid`` is whom to act as, when that is somebody else.
    """

    username: str
    password: str = field(repr=False)
    authzid: str | None = None


ClientExchange: TypeAlias = Generator[bytes | None, bytes, None]
"""Yields the initial response (or None), then is sent each challenge and yields its response."""


class ClientMechanism(Protocol):
    """The client's side of a mechanism."""

    name: str
    reveals_secret: bool
    """Whether whoever reads the exchange can read the secret, so that it has to be under TLS."""

    def start(self, credentials: Credentials) -> ClientExchange:
        """Begin a new exchange."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server's mechanism wants this sent, and the response to it back."""

    data: bytes = field(repr=False)


class Question:
    """A server's mechanism wants to know something that only the application can tell.

    ``hook`` names the method of the server's handler that is asked.
    """

    hook: ClassVar[str] = "on_auth"


@dataclass(frozen=True, slots=True)
class PasswordCheck(Question):
    """Is this the password of that user? The answer is true, or the name of the identity, or false.

    ``authzid`` is None unless the client asked to act as somebody.
    """

    mechanism: str
    username: str
    password: str = field(repr=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client turned out to be, and by which mechanism."""

    name: str
    mechanism: str
    authzid: str | None = None


ServerExchange: TypeAlias = Generator[Challenge | Question, Any, Identity | None]
"""Is begun with None and sent the initial response (or None); yields challenges and questions and is sent the
responses and answers; returns the identity, or None when the client failed to prove it. A response that breaks
the mechanism's grammar raises `GrammarError`."""


class ServerMechanism(Protocol):
    """The server's side of a mechanism."""

    name: str
    reveals_secret: bool

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Begin a new exchange, with what the client sent along, or None."""


def identify(check: PasswordCheck, answer: object) -> Identity | None:
    """Return the identity that the application's ``answer`` to ``check`` stands for, None if it said no.

    To act as somebody else is a decision of its own, which a password alone does not make (RFC 4616 section 2).
    """
    if not answer or check.authzid not in (None, check.username):
        return None
    name = answer if isinstance(answer, str) else check.username
    return Identity(name, check.mechanism, check.authzid)


ClientMechanisms: TypeAlias = Mapping[str, ClientMechanism]
ServerMechanisms: TypeAlias = Mapping[str, ServerMechanism]
