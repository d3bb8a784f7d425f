"""What a SASL mechanism is here: a tiny machine from challenge to response (RFC 4422 section 3), for both sides.

A mechanism is a generator, so that a dialogue of any length reads from top to bottom. It knows neither SMTP nor
POP3, neither base64 nor the network; what it wants besides speaking to its peer, it yields as a `Request`. No initial
response and an empty one are different things: None and ``b""``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Protocol, TypeAlias

from mailproto._core.events import TLSInfo
from mailproto.errors import GrammarError

_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")


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

    ``username`` is whose secret it is (authcid); ``authzid`` is whom to act as, when that is somebody else. The
    secret is a password, or the ``token`` of RFC 6750, or neither: then it is the certificate shown in TLS.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    authzid: str | None = None
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        texts = (self.username, self.password, self.authzid or "", self.token)
        if not all(isinstance(text, str) for text in texts):  # none of which may stand in a message
            raise TypeError("credentials are text")

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not to be stored")


CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials | Awaitable[Credentials]]
"""Credentials, or what returns them when they are about to be used, so that a token can be fresh. Under asyncio it
may be a coroutine function."""


def check_credentials(source: object) -> None:
    """Raise `TypeError` for what are no credentials, nor called to get some. None are none."""
    if not (source is None or isinstance(source, Credentials) or callable(source)):
        raise TypeError("credentials are Credentials, or what returns them")


@dataclass(frozen=True, slots=True)
class Channel:
    """What an exchange may know of the connection that it runs on.

    Attributes:
        tls: the TLS session, None in clear.
        offered: the names of the mechanisms that the server offers, on a client those of them that it could use:
            the rest of what a server seems to offer may be somebody else's invention.
        bindings: channel binding data by type (RFC 5056), of the types that may be used, best first.
    """

    tls: TLSInfo | None = None
    offered: tuple[str, ...] = ()
    bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Request:
    """What a mechanism yields when it wants something of its own side. It is sent the answer."""


@dataclass(frozen=True, slots=True)
class ChannelRequest(Request):
    """A mechanism wants to see its `Channel`."""


@dataclass(frozen=True, slots=True)
class Compute(Request):
    """A mechanism wants the result of ``function(*arguments)``, which takes long enough to stop an event loop."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = field(repr=False)


ClientExchange: TypeAlias = Generator[bytes | Request | None, Any, None]
"""Yields the initial response (or None), then is sent each challenge and yields its response. At the end it is sent
None when the server says that it was a success, and has thrown into it the `AuthenticationError` that it was a
failure. It raises what it has against that: an exchange that yields more was not over."""


class ClientMechanism(Protocol):
    """The client's side of a mechanism."""

    @property
    def name(self) -> str:
        """The name by which it is offered, in upper case."""

    @property
    def reveals_secret(self) -> bool:
        """Whether whoever reads the exchange can read the secret, so that it has to be under TLS."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether the credentials are of the kind that the mechanism needs."""

    def start(self, credentials: Credentials) -> ClientExchange:
        """Begin a new exchange.

        The exchange raises `GrammarError` if it cannot write the credentials, and `AuthenticationError` if it does
        not want to go on with this server.
        """


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server's mechanism wants this sent, and the response to it back.

    One that ``refuses`` says why the login has failed, whatever the response will be (RFC 7628 section 3.2.3).
    """

    data: bytes = field(repr=False)
    refuses: bool = False


class Question(Request):
    """A server's mechanism wants to know something that only the application can tell.

    ``hook`` names the method of the server's handler that is asked, with the session and what `arguments` returns. A
    mechanism of your own that wants more than true or a name for an answer, a key say, asks by a hook of its own.
    """

    hook: ClassVar[str] = "on_auth"

    def arguments(self) -> tuple[Any, ...]:
        """Return what the hook gets besides the session: this question."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client turned out to be, and by which mechanism. ``authzid`` is whom it may act as, if not itself."""

    name: str
    mechanism: str
    authzid: str | None = None

    @property
    def user(self) -> str:
        """Whom the client acts as: whose maildrop it gets, and whose mail it sends."""
        return self.name if self.authzid is None else self.authzid


ServerExchange: TypeAlias = Generator[Challenge | Request, Any, Identity | None]
"""Is begun with None and sent the initial response (or None); yields challenges and requests and is sent the
responses and answers; returns the identity, or None when the client failed to prove it. A response that breaks
the mechanism's grammar raises `GrammarError`."""


class ServerMechanism(Protocol):
    """The server's side of a mechanism."""

    @property
    def name(self) -> str:
        """The name by which it is offered, in upper case."""

    @property
    def reveals_secret(self) -> bool:
        """Whether whoever reads the exchange can read the secret."""

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Begin a new exchange, with what the client sent along, or None."""


class InitialResponseError(GrammarError):
    """A client sent an initial response with a mechanism in which the server begins (RFC 4954 section 4)."""


def check_mechanism(name: str) -> None:
    """Raise `GrammarError` unless ``name`` may be the name of a SASL mechanism (RFC 4422 section 3.1)."""
    if not _MECHANISM.fullmatch(name):
        raise GrammarError(f"not a SASL mechanism: {name!a:.40}")


def check_mechanisms(names: Collection[str]) -> None:
    """Raise `GrammarError` unless these are names of SASL mechanisms, and not a text, which would be its letters."""
    if isinstance(names, str):
        raise GrammarError(f"not the names of SASL mechanisms, but one: {names!a:.40}")
    for name in names:
        check_mechanism(name)


ClientMechanisms: TypeAlias = Mapping[str, ClientMechanism]
ServerMechanisms: TypeAlias = Mapping[str, ServerMechanism]
