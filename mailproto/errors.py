"""The exceptions of mailproto.

    MailProtoError
    ├── LocalProtocolError       the caller's mistake: nothing was queued, the connection is as it was
    ├── RemoteProtocolError      the peer broke the protocol: the connection has FAILED for good
    ├── ConnectionClosedError    the connection is gone, or was closed here
    │   ├── ConnectionTimeoutError   the peer took longer than the deadline (also a TimeoutError)
    │   └── ConnectionExhaustedError   the server takes no more on this connection, but on another
    ├── GrammarError             a value that may not go on the wire (also a ValueError)
    ├── NotSupportedError        the peer, or the system, does not offer what the job needs
    ├── SourceError              the caller's own part in sending failed: what a message is read from, or progress
    ├── TLSRequiredError         the TLS policy forbids to go on in clear
    ├── AuthenticationError      the peer refused the credentials, or cannot be given them safely
    ├── Reject                   raised by a server's hooks to refuse what was asked
    ├── smtp.ReplyError          an SMTP reply of class 4 or 5 ended the job
    ├── smtp.DeliveryError       not every recipient has got the message, for those who asked for an exception
    ├── smtp.routing.RoutingError  nobody takes mail for a domain, or it is not known who does
    ├── pop3.ResponseError       a POP3 ``-ERR`` ended the job
    ├── dns.NoSuchNameError      there is no such name in the DNS
    ├── dns.LookupFailedError    no name server tells
    ├── tunnels.TunnelError      a proxy does not open the way
    ├── maildrop.MboxFormatError  a file is not an mbox
    ├── maildrop.NotRemovedError  messages are still there that were to be removed
    ├── ledger.LedgerInUseError  another run has the ledger of this account
    ├── relay.QueueInUseError    another relay works the queue off
    ├── relay.PolicyFetchError   the policy host of a domain has no policy to give
    └── relay.UnreadableError    what is in a queue cannot be read before somebody has seen to it

Nothing else escapes from the state machines, whatever bytes a peer sends.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AuthenticationError",
    "ConnectionClosedError",
    "ConnectionExhaustedError",
    "ConnectionTimeoutError",
    "GrammarError",
    "LocalProtocolError",
    "MailProtoError",
    "NotSupportedError",
    "Reject",
    "RemoteProtocolError",
    "SourceError",
    "TLSRequiredError",
]


class MailProtoError(Exception):
    """The root of every exception that this library raises on purpose.

    Each can be pickled and copied, so that a process can tell another one of it.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (type(self), self.args), vars(self)


def _make_again(kind: type[MailProtoError], words: tuple[Any, ...]) -> MailProtoError:
    """Return an exception as it was. Python would call ``__init__``, but many make their words of something else."""
    error = kind.__new__(kind)
    error.args = words
    return error


class LocalProtocolError(MailProtoError):
    """The caller asked for something that the state of the connection does not allow.

    Raised before anything changes: nothing was queued and the connection is still usable.
    """


class RemoteProtocolError(MailProtoError):
    """The peer sent what the protocol does not allow. The connection has failed and can only be closed."""


class ConnectionClosedError(MailProtoError):
    """The connection ended before the job did. ``last_words`` is what the peer said last, if anything."""

    def __init__(self, message: str, last_words: str = "") -> None:
        super().__init__(f"{message} (the peer said last: {last_words})" if last_words else message)
        self.last_words = last_words


class ConnectionTimeoutError(ConnectionClosedError, TimeoutError):
    """The peer took longer than the deadline of this wait; the connection was closed."""


class ConnectionExhaustedError(ConnectionClosedError):
    """The server has said beforehand that it takes no more on one connection (RFC 9422); open another.

    This one is as good as before for everything else, QUIT for instance.
    """


class GrammarError(MailProtoError, ValueError):
    """A value breaks the grammar of the protocol, so it was not put on the wire."""


class NotSupportedError(MailProtoError):
    """The peer does not offer an extension or a mechanism that the job needs. Nothing was sent for it.

    Or the system does not: it is not POSIX, say, or has no unix sockets.
    """


class SourceError(MailProtoError):
    """The caller's own part in sending a message has failed: the file or iterable that it is read from, or its
    ``progress``; ``__cause__`` is what that raised.

    The message was broken off, and nobody has it; unless it was whole by then, which the result tells.
    """


class TLSRequiredError(MailProtoError):
    """The TLS policy requires a secure connection, and there is none to be had."""


class AuthenticationError(MailProtoError):
    """Authentication failed. ``temporary`` says whether the same credentials may work later."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


def check_code(code: object) -> None:
    """Raise `TypeError` unless a refusal can begin with this: a text in its place would be told to nobody."""
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"a refusal begins with its code, such as 550, and not with {code!r:.40}")


class Reject(MailProtoError):
    """Raised in a server's hook: refuse what was asked, with this answer.

    SMTP uses all three: the reply code (400 to 599), the text (one line or several), and the enhanced
    status code of RFC 3463, whose class has to match the code. POP3 has no codes: it sends the text, and
    ``enhanced`` as the response code of RFC 2449 section 8, such as ``"IN-USE"``.

    Raises:
        TypeError: the code is no number.
    """

    def __init__(self, code: int = 550, text: str = "refused", enhanced: str | None = None) -> None:
        check_code(code)
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.enhanced = enhanced
