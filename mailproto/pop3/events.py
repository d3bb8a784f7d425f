"""The events of POP3 connections. Those that are not defined here are shared with SMTP.

On a server an event either asks, and is answered with ``accept`` or ``reject``, or it is a notice. On a client every
event that answers a command carries that command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mailproto._core.attributes import Attributes
from mailproto._core.events import ConnectionClosed, ExtensionCommand, MessageChunk, StartTLS
from mailproto.pop3.command import Command
from mailproto.pop3.response import Response
from mailproto.pop3.tolerance import Tolerance
from mailproto.sasl.base import Auth, AuthResponse

# A server's events that ask.


@dataclass(slots=True)
class Connected:
    """A client is there. Accept: the greeting; reject: -ERR, and the connection closes."""


@dataclass(slots=True)
class Login:
    """USER and PASS (RFC 1939 section 7). Accept with the maildrop: ``accept(maildrop=snapshot.messages)``."""

    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class Apop:
    """APOP (RFC 1939 section 7). Check the digest with `ApopCheck`; accept with the maildrop, like `Login`."""

    username: str
    timestamp: str
    digest: str = field(repr=False)


@dataclass(slots=True)
class XClient:
    """XCLIENT: a trusted proxy says whom it speaks for. Accept: the session begins again, as that client's.

    Comes only from a peer that the server trusts, see ``trusted`` of `POP3ServerConnection`.
    """

    attributes: Attributes


@dataclass(slots=True)
class Retrieve:
    """RETR, or TOP when ``lines`` is not None. Accept, then ``send_data`` and ``end_data``.

    A client that is not in UTF-8 mode (``conn.utf8``) must not get a message with UTF-8 in its header as it is. The
    flow ``serve`` sees to that; who answers by hand has `mailproto.pop3.utf8.HeaderScan` to tell such messages.
    """

    number: int
    lines: int | None = None


@dataclass(slots=True)
class Update:
    """QUIT after login: now, and only now, remove the messages with these numbers, which may be none.

    Accept when they are gone for good; reject when some are not (RFC 1939 section 6).
    """

    deleted: tuple[int, ...]


# A server's notices.


@dataclass(slots=True)
class CommandRejected:
    """The connection itself refused a command. ``verb`` is what it was, ``""`` if unrecognisable."""

    verb: str
    response: Response


ServerEvent: TypeAlias = (
    Connected
    | StartTLS
    | XClient
    | Login
    | Apop
    | Auth
    | AuthResponse
    | Retrieve
    | ExtensionCommand
    | Update
    | CommandRejected
)

# A client's events.


@dataclass(slots=True)
class GreetingReceived:
    """The server's first line. ``timestamp`` is what APOP needs, if it is there and can be trusted."""

    response: Response
    timestamp: str | None


@dataclass(slots=True)
class ResponseReceived:
    """The first line of the response to a command. Responses come in the order of the commands."""

    command: Command[Any]
    response: Response


@dataclass(slots=True)
class ListingReceived:
    """The lines behind the first, as a whole: what the command's result is, such as a dict from message numbers."""

    command: Command[Any]
    entries: Any = field(repr=False)


@dataclass(slots=True)
class MessageEnd:
    """The whole message has come, in so many octets."""

    command: Command[Any]
    size: int


@dataclass(slots=True)
class AuthChallenge:
    """The server's challenge in an AUTH exchange; answer with ``auth_response`` or ``auth_cancel``."""

    command: Command[Any]
    data: bytes = field(repr=False)


@dataclass(slots=True)
class ToleranceUsed:
    """The server deviated from the RFC, and was let."""

    tolerance: Tolerance


ClientEvent: TypeAlias = (
    GreetingReceived
    | ResponseReceived
    | ListingReceived
    | MessageChunk
    | MessageEnd
    | AuthChallenge
    | StartTLS
    | ToleranceUsed
)

__all__ = [
    "Apop",
    "Auth",
    "AuthChallenge",
    "AuthResponse",
    "ClientEvent",
    "CommandRejected",
    "Connected",
    "ConnectionClosed",
    "ExtensionCommand",
    "GreetingReceived",
    "ListingReceived",
    "Login",
    "MessageChunk",
    "MessageEnd",
    "ResponseReceived",
    "Retrieve",
    "ServerEvent",
    "StartTLS",
    "ToleranceUsed",
    "Update",
    "XClient",
]
