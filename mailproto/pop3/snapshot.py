"""What a POP3 session sees of a maildrop: a snapshot, taken at login and never renumbered (RFC 1939 section 4).

Any store that can answer these few questions can be served over POP3. The methods may be plain functions, or,
under asyncio, coroutines; they are called one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from mailproto.errors import Reject


class MessageInfo(NamedTuple):
    """One message of a snapshot.

    ``size`` is in octets as sent: every line ends in CRLF, no dot is stuffed (RFC 1939 section 11). Where the last
    line has no end, the one it gets on the wire may be counted or not.
    ``uid`` is the unique-id: 1 to 70 characters from 0x21 to 0x7E, never used again (RFC 1939 section 7).
    """

    size: int
    uid: str


class Snapshot(Protocol):
    """An open maildrop: locked for this session until `close`.

    One that has an attribute ``read_only`` that is true refuses each DELE at once, not only the commit.
    """

    @property
    def messages(self) -> Sequence[MessageInfo]:
        """The messages in their order; message number 1 of the session is ``messages[0]``."""

    def retrieve(self, number: int) -> Iterator[bytes] | Awaitable[Iterator[bytes]]:
        """Return the content of message ``number`` (from 1), in pieces cut anywhere.

        Line ends other than CRLF become CRLF on their way, and count as such in the size.
        """

    def commit(self, deleted: Sequence[int]) -> Awaitable[None] | None:
        """Remove the messages with these numbers, for good: the UPDATE state. Called once, at QUIT only."""

    def close(self) -> Awaitable[None] | None:
        """Release the lock. Called once on every way out, after `commit` if there was one."""


def total_size(messages: Iterable[MessageInfo]) -> int:
    """Return the octets of all ``messages`` together."""
    return sum(message.size for message in messages)


class MaildropBusyError(Reject):
    """Another session holds the maildrop's exclusive lock (RFC 1939 section 4). Over POP3: ``-ERR [IN-USE]``."""

    def __init__(self, text: str = "the maildrop is in use by another session") -> None:
        super().__init__(450, text, "IN-USE")


class LoginDelayError(Reject):
    """The user's last login was not long enough ago (RFC 2449 section 8.1.1). Over POP3: ``-ERR [LOGIN-DELAY]``."""

    def __init__(self, text: str = "the last login was not long enough ago") -> None:
        super().__init__(450, text, "LOGIN-DELAY")


class UTF8RequiredError(Reject):
    """The message can be had in UTF-8 mode only (RFC 6856 section 5). Over POP3: ``-ERR [UTF8]``."""

    def __init__(self, text: str = "the message is in UTF-8, say UTF8 before login") -> None:
        super().__init__(550, text, "UTF8")
