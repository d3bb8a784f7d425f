"""The small interface that every maildrop has, and what its implementations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from mailproto._core.newlines import CanonicalNewlines
from mailproto.errors import LocalProtocolError, MailProtoError, Reject
from mailproto.pop3.snapshot import MaildropBusyError as MaildropBusyError
from mailproto.pop3.snapshot import MessageInfo, Snapshot

BLOCK = 65536
"""Octets read from a stored message at a time."""


class MessageGoneError(Reject):
    """A message of the snapshot is no longer there: another program removed it. Over POP3: ``-ERR [SYS/TEMP]``."""

    def __init__(self) -> None:
        super().__init__(450, "the message is no longer in the maildrop", "SYS/TEMP")


class NotRemovedError(MailProtoError):
    """Some deletions failed (RFC 1939 section 6); ``numbers`` are the messages that are still there."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"{len(numbers)} deleted messages not removed")
        self.numbers = tuple(numbers)


class Maildrop(Protocol):
    """A place where mail is kept for one user. Its methods block; under asyncio call them in a thread."""

    def deliver(self, content: Iterable[bytes]) -> str:
        """Store a message and return its unique-id (RFC 1939 section 7). Returning means that it is safe now.

        ``content`` is the message in pieces cut anywhere, its lines ending in CRLF. A bare CR or LF becomes
        CRLF; every other octet comes back as it was given. If this raises, nothing was stored.
        """

    def open(self) -> Snapshot:
        """Lock the maildrop for one session and return what is in it now.

        Deliveries go on meanwhile; they show in the next session.

        Raises:
            MaildropBusyError: another session has it open.
        """


class LockedSnapshot(ABC):
    """The part of a `Snapshot` that is the same over every store: the numbers and the lock."""

    def __init__(self, messages: Iterable[MessageInfo], release: Callable[[], None]) -> None:
        self._messages = tuple(messages)
        self._release = release
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._messages)} messages{', closed' * self._closed}>"

    @property
    def messages(self) -> Sequence[MessageInfo]:
        """The messages in their order; message number 1 of the session is ``messages[0]``."""
        return self._messages

    @abstractmethod
    def retrieve(self, number: int) -> Iterator[bytes]:
        """Return the content of message ``number`` (from 1) in pieces, every line end a CRLF.

        Raises:
            MessageGoneError: at once, before the first piece, if the message is no longer there.
        """

    @abstractmethod
    def commit(self, deleted: Sequence[int]) -> None:
        """Remove the messages with these numbers, for good. One that is gone already counts as removed.

        Raises:
            NotRemovedError: some could not be removed, after all were tried.
        """

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def _index(self, number: int) -> int:
        """Return the index of message ``number``; raise `LocalProtocolError` if there is none, or no lock."""
        if self._closed:
            raise LocalProtocolError("the maildrop's session is closed")
        if not 1 <= number <= len(self._messages):
            raise LocalProtocolError(f"no message has the number {number}")
        return number - 1


def canonical(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``pieces`` with every CR, LF and CRLF made a CRLF, however they are cut.

    Raises:
        TypeError: that is no iterable of octets, but the octets themselves, text, or an ``email`` message.
    """
    if isinstance(pieces, bytes | bytearray | memoryview | str):
        raise TypeError(f"a message comes in pieces, as [octets] if there is one, and not as {type(pieces).__name__}")
    newlines = CanonicalNewlines()
    for piece in pieces:
        if isinstance(piece, str):  # a field's name, where an email message was given
            raise TypeError(f"a message comes in pieces that are octets: {type(pieces).__name__} has text")
        if mended := newlines.feed(piece):
            yield mended
    if rest := newlines.finish():
        yield rest
