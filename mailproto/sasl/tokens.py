"""OAUTHBEARER (RFC 7628) and XOAUTH2, its forerunner: a token from elsewhere instead of a password.

The token is all that it takes, so both are only ever used under TLS. When a server refuses it, it says why in JSON
before the exchange ends; the client raises that as `TokenRefusedError`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl.base import (
    Challenge,
    ClientExchange,
    Credentials,
    Identity,
    Question,
    Request,
    ServerExchange,
)
from mailproto.sasl.identity import authorize, name_of, prepare_authzid
from mailproto.sasl.scram_messages import gs2_header, parse_gs2_header
from mailproto.sasl.text import decode_utf8, encode_utf8

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PAIR = re.compile(rb"([A-Za-z]+)=([\t\n\r -~]*)")
_MAX_DETAILS = 4096

Pairs = list[tuple[str, str]]


class TokenRefusedError(AuthenticationError):
    """The server refused a token.

    Attributes:
        details: what the server said about it, such as ``status``, ``scope`` and ``openid-configuration`` (RFC 7628
            section 3.2.2); empty if it is no JSON object of a decent size. Nothing in it can be trusted.
    """

    def __init__(self, message: str, details: Mapping[str, Any], *, temporary: bool = False) -> None:
        super().__init__(message, temporary=temporary)
        self.details = details


@dataclass(frozen=True, slots=True)
class TokenCheck(Question):
    """Is this a good token, and whose? The answer is the name of the identity; true for ``username``; or false, or a
    `TokenRefusal` that says why.

    ``username`` is whom the client wants to act as, None if it does not say. Where you answer with another name,
    whether that one may is asked afterwards. ``host`` and ``port`` are where the client believes to be; if it says
    so, and it is wrong, the token was meant for somebody else (RFC 7628 section 3.2).
    """

    mechanism: str
    username: str | None
    token: str = field(repr=False)
    host: str | None = None
    port: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """The answer no about a token, and what is said of it (RFC 7628 section 3.2.2). A hook returns it, as any no."""

    status: str = "invalid_token"
    scope: str | None = None
    openid_configuration: str | None = None

    def __bool__(self) -> bool:
        return False

    def encode(self) -> bytes:
        """Return the error in JSON."""
        import json  # only refusals need it

        fields = {
            "status": self.status,
            "schemes": "bearer",
            "scope": self.scope,
            "openid-configuration": self.openid_configuration,
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None}).encode("ascii")


class TokenClient(ABC):
    """The client's side of a mechanism with a token."""

    reveals_secret = True
    _acknowledgement: ClassVar[bytes]  # what the client answers to the server's error

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is a token."""
        return bool(credentials.token)

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield the token, and hear why it is refused.

        Raises:
            GrammarError: there is no token, or it has other characters than tokens have; or the user name cannot be
                written.
            TokenRefusedError: the server does not take it.
        """
        if not _TOKEN.fullmatch(credentials.token):
            raise GrammarError("not a bearer token")
        error = yield self._encode(credentials)
        if error is None:
            return
        details = parse_details(error)
        try:
            yield self._acknowledgement
        except AuthenticationError as refusal:
            raise TokenRefusedError(str(refusal), details, temporary=refusal.temporary) from None
        raise TokenRefusedError("the server refused the token and then said yes", details)

    @abstractmethod
    def _encode(self, credentials: Credentials) -> bytes:
        """Return what carries the token."""


@dataclass(frozen=True)
class OAuthBearerClient(TokenClient):
    """The client's side of OAUTHBEARER.

    Args:
        host: the name of the server, for those servers that want to hear it.
        port: its port.
    """

    name: ClassVar[str] = "OAUTHBEARER"
    _acknowledgement = b"\x01"

    host: str | None = None
    port: int | None = None

    def _encode(self, credentials: Credentials) -> bytes:
        user = prepare_authzid(credentials.authzid or credentials.username)
        fields = [("host", self.host), ("port", self.port), ("auth", f"Bearer {credentials.token}")]
        pairs = [f"{key}={value}" for key, value in fields if value is not None]
        if any(_CONTROL.search(pair) for pair in pairs):
            raise GrammarError("a control character in the name of a host")
        return gs2_header(None, user) + encode_utf8("\1".join(("", *pairs, "", "")))


class XOAuth2Client(TokenClient):
    """The client's side of XOAUTH2."""

    name = "XOAUTH2"
    _acknowledgement = b""

    def _encode(self, credentials: Credentials) -> bytes:
        user = credentials.authzid or credentials.username
        if not user or _CONTROL.search(user):
            raise GrammarError("no user name, or one with a control character")
        return encode_utf8(f"user={user}\1auth=Bearer {credentials.token}\1\1")


class TokenServer(ABC):
    """The server's side of a mechanism with a token."""

    name: ClassVar[str]
    reveals_secret = True

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for the token if it did not come along, then ask the application for its opinion."""
        response = initial_response
        if response is None:
            response = yield Challenge(b"")
        check = self._parse(response)
        answer = (yield check) if check.token else None
        name = name_of(answer, check.username or "")
        if not name:
            yield from _refuse(answer)
            return None
        return (yield from authorize(Identity(name, self.name), check.username))

    @abstractmethod
    def _parse(self, response: bytes) -> TokenCheck:
        """Return the token that a response carries, for the application to check."""


class OAuthBearerServer(TokenServer):
    """The server's side of OAUTHBEARER."""

    name = "OAUTHBEARER"

    def _parse(self, response: bytes) -> TokenCheck:
        header, binding, user = parse_gs2_header(response)
        if binding is not None:
            raise GrammarError("OAUTHBEARER does not bind to the channel")
        pairs = _parse_pairs(response[len(header) :])
        username = prepare_authzid(user or "")
        return TokenCheck(self.name, username, _token(pairs), _only(pairs, "host"), _only(pairs, "port"))


class XOAuth2Server(TokenServer):
    """The server's side of XOAUTH2."""

    name = "XOAUTH2"

    def _parse(self, response: bytes) -> TokenCheck:
        head, _, rest = response.partition(b"\1")
        user = prepare_authzid(decode_utf8(head.removeprefix(b"user=")))
        if not head.startswith(b"user=") or user is None:
            raise GrammarError("no user name")
        return TokenCheck(self.name, user, _token(_parse_pairs(b"\1" + rest)))


def parse_details(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object with which a server refuses a token; an empty one if it is not that, or is too big."""
    if len(data) > _MAX_DETAILS:
        return {}
    import json  # only refusals need it

    try:
        details = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}


def _refuse(answer: object) -> Generator[Challenge | Request, Any, None]:
    """Say why, and let the client have the last word, which changes nothing (RFC 7628 section 3.2.3)."""
    error = answer if isinstance(answer, TokenRefusal) else TokenRefusal()
    yield Challenge(error.encode(), refuses=True)


def _parse_pairs(data: bytes) -> Pairs:
    """Return the keys and values between the GS2 header and the end (RFC 7628 section 3.1).

    Raises:
        GrammarError: they are not that.
    """
    if not data.startswith(b"\1") or not data.endswith(b"\1\1"):
        raise GrammarError("not the keys and values of a token")
    pairs: Pairs = []
    for part in data[1:-2].split(b"\1"):
        match = _PAIR.fullmatch(part)
        if match is None:
            raise GrammarError("not a key and a value")
        pairs.append((match[1].decode("ascii").lower(), match[2].decode("ascii")))
    return pairs


def _only(pairs: Pairs, wanted: str) -> str | None:
    """Return the value of a key, None if it is not there.

    Raises:
        GrammarError: it is there twice, or has a control character, which none of those that we know may have.
    """
    values = [value for key, value in pairs if key == wanted]
    if len(values) > 1 or any(map(_CONTROL.search, values)):
        raise GrammarError(f"not one value for {wanted}")
    return values[0] if values else None


def _token(pairs: Pairs) -> str:
    """Return the token, ``""`` where there is none of our scheme, to hear what would be taken (RFC 7628 section 4.3).

    Raises:
        GrammarError: nothing is said about it.
    """
    auth = _only(pairs, "auth")
    if auth is None:
        raise GrammarError("no token")
    match = _BEARER.fullmatch(auth)
    return match[1] if match is not None else ""
