"""The events of SMTP connections. Those that are not defined here are shared with POP3.

On a server an event either asks, and is answered with ``accept``, ``reject`` or ``reply``, or it is a notice. On a
client every event that answers a command carries that command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from mailproto._core.events import ConnectionClosed, ExtensionCommand, MessageChunk, StartTLS
from mailproto._core.spool import Spool
from mailproto.address import Address
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.smtp.attributes import Attributes
from mailproto.smtp.command import Command
from mailproto.smtp.config import Tolerance
from mailproto.smtp.parameters import MailParameters, RcptParameters
from mailproto.smtp.reply import Reply

# A server's events that ask.


@dataclass(slots=True)
class Connected:
    """A client is there. Accept: 220; reject: 554, and the client may only QUIT (RFC 5321 section 3.1)."""


@dataclass(slots=True)
class Hello:
    """EHLO (``extended``) or HELO (RFC 5321 section 4.1.1.1). ``domain`` is what the client says it is: no proof."""

    domain: str
    extended: bool


@dataclass(slots=True)
class Mail:
    """MAIL begins a transaction (RFC 5321 section 4.1.1.2). ``reverse_path`` is None for ``<>``, that of notices."""

    reverse_path: Address | None
    parameters: MailParameters


@dataclass(slots=True)
class Rcpt:
    """RCPT names one recipient (RFC 5321 section 4.1.1.3).

    Left unanswered it is refused, so nobody becomes an open relay by forgetting.
    """

    address: Address
    parameters: RcptParameters


@dataclass(slots=True)
class Data:
    """The message is about to come. Accept: 354, or nothing yet for BDAT; reject: it does not come.

    ``chunked`` is whether it comes with BDAT (RFC 3030), which makes no difference to what follows.
    """

    chunked: bool = False


@dataclass(slots=True)
class Envelope:
    """A transaction: the sender, the recipients that were accepted, and in the end the message.

    ``bytes(envelope)`` is the whole message, and ``for piece in envelope`` has it in pieces, for hooks; who reads
    events has got it in `MessageChunk`. ``content`` is where it is kept, on disk if it is large.
    """

    mail: Mail
    recipients: list[Rcpt] = field(default_factory=list)
    content: Spool | None = field(default=None, repr=False)

    @property
    def reverse_path(self) -> Address | None:
        """The sender, None for ``<>``."""
        return self.mail.reverse_path

    @property
    def forward_paths(self) -> list[Address]:
        """The addresses of the accepted recipients, in their order."""
        return [recipient.address for recipient in self.recipients]

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the message in pieces."""
        return iter(self.content if self.content is not None else ())

    def __bytes__(self) -> bytes:
        """Return the whole message."""
        return b"".join(self)


@dataclass(slots=True)
class MessageEnd:
    """The whole message has come, in ``size`` octets.

    Accepting it means that it is safe: the client will forget it (RFC 5321 section 4.2.5).
    """

    size: int
    envelope: Envelope


@dataclass(slots=True)
class Delivery:
    """In LMTP, and with PRDR, one recipient of a message that has come, to be answered alone (RFC 2033 section 4.2).

    Comes for each recipient in turn, if ``ask_each`` was the answer to `MessageEnd`. Accepting it means that the
    message is safe for this recipient.
    """

    recipient: Rcpt
    envelope: Envelope = field(repr=False)


@dataclass(slots=True)
class Burl:
    """BURL: the next piece of the message is what ``url`` refers to, which is yours to fetch (RFC 4468).

    Accept: the piece is there, and if it was the ``last`` one the message is safe, for there comes no `MessageEnd`.
    Reject (554 5.6.6), or leave it unanswered: the transaction is over. A URL may be all that it takes to read mail.
    """

    url: str = field(repr=False)
    last: bool
    envelope: Envelope = field(repr=False)


@dataclass(slots=True)
class Vrfy:
    """VRFY (RFC 5321 section 3.5). Accept: 252, which says nothing; reject: 502.

    Answer with 250 or 550 only to whom you trust. With ``smtputf8`` the reply may be in UTF-8.
    """

    argument: str
    smtputf8: bool = False


@dataclass(slots=True)
class Expn:
    """EXPN (RFC 5321 section 3.5), where the config's extensions have it. Reject (502) unless strangers may read your
    lists; ``smtputf8`` as in `Vrfy`."""

    argument: str
    smtputf8: bool = False


@dataclass(slots=True)
class Etrn:
    """ETRN: run the queue for this node (RFC 1985). Reply 250 to 253, or reject."""

    node: str


@dataclass(slots=True)
class XClient:
    """XCLIENT: a trusted proxy says whom it speaks for. Accept: 220, and the session begins again, as that client's.

    Comes only from a peer that the server trusts, see ``trusted`` of `SMTPServerConnection`. The session has yet to
    be told, with its ``speak_for``; hooks find that done. A ``LOGIN`` is the peer's word and no authentication.
    """

    attributes: Attributes


@dataclass(slots=True)
class XForward:
    """XFORWARD: a trusted peer says, for the logs alone, where the next message came from."""

    attributes: Attributes


# A server's notices.


@dataclass(slots=True)
class Reset:
    """The client took the transaction back, with RSET or EHLO. What came of a message is to be thrown away."""


@dataclass(slots=True)
class MessageAborted:
    """The message that is coming in is refused with this reply, by the connection or, with ``reject``, by you. What
    came of it is to be thrown away, and no more of it comes."""

    reply: Reply


@dataclass(slots=True)
class CommandRejected:
    """The connection itself refused a command. ``verb`` is what it was, ``""`` if unrecognisable."""

    verb: str
    reply: Reply


@dataclass(slots=True)
class ToleranceUsed:
    """The peer deviated from the RFC, and was let."""

    tolerance: Tolerance


ServerEvent: TypeAlias = (
    Connected
    | Hello
    | StartTLS
    | Auth
    | AuthResponse
    | Mail
    | Rcpt
    | Data
    | MessageChunk
    | MessageEnd
    | Delivery
    | Burl
    | Vrfy
    | Expn
    | Etrn
    | XClient
    | XForward
    | ExtensionCommand
    | Reset
    | MessageAborted
    | CommandRejected
    | ToleranceUsed
)

# A client's events.


@dataclass(slots=True)
class GreetingReceived:
    """The server's first reply: 220, or a refusal."""

    reply: Reply


@dataclass(slots=True)
class ReplyReceived:
    """The reply to a command, of whatever class. Replies come in the order of the commands."""

    command: Command
    reply: Reply


@dataclass(slots=True)
class AuthChallenge:
    """The server's challenge in an AUTH exchange; answer with ``auth_response`` or ``auth_cancel``."""

    command: Command
    data: bytes = field(repr=False)


@dataclass(slots=True)
class ReadyForData:
    """The server waits for the message: ``send_data``, then ``end_data``."""

    command: Command
    reply: Reply


@dataclass(slots=True)
class CommandSkipped:
    """A command was not sent after all, because the one it depends on was refused."""

    command: Command


ClientEvent: TypeAlias = (
    GreetingReceived | ReplyReceived | AuthChallenge | ReadyForData | CommandSkipped | StartTLS | ToleranceUsed
)

__all__ = [
    "Auth",
    "AuthChallenge",
    "AuthResponse",
    "Burl",
    "ClientEvent",
    "CommandRejected",
    "CommandSkipped",
    "Connected",
    "ConnectionClosed",
    "Data",
    "Delivery",
    "Envelope",
    "Etrn",
    "Expn",
    "ExtensionCommand",
    "GreetingReceived",
    "Hello",
    "Mail",
    "MessageAborted",
    "MessageChunk",
    "MessageEnd",
    "Rcpt",
    "ReadyForData",
    "ReplyReceived",
    "Reset",
    "ServerEvent",
    "StartTLS",
    "ToleranceUsed",
    "Vrfy",
    "XClient",
    "XForward",
]
