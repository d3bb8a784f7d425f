"""A session's view of its maildrop: the snapshot, and the marks of deletion on it (RFC 1939 section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mailproto.errors import GrammarError
from mailproto.pop3._server import responses
from mailproto.pop3.languages import Phrase
from mailproto.pop3.response import Response
from mailproto.pop3.snapshot import MessageInfo, total_size

_UNIQUE_ID = re.compile(r"[!-~]{1,70}")


class Refusal(Exception):
    """A command that gets a ``-ERR``. Never leaves the connection."""

    def __init__(self, response: Response) -> None:
        self.response = response


class MarkedMaildrop:
    """The messages of a session by their numbers, from 1, and which of them are marked as deleted.

    Attributes:
        count: messages that are not marked.
        octets: their size together.
        last: the highest number that was looked into, for LAST.
    """

    __slots__ = ("_marked", "_messages", "_read_only", "count", "last", "octets")

    count: int
    octets: int
    last: int

    def __init__(self, messages: Sequence[MessageInfo], *, read_only: bool = False) -> None:
        """Take a copy of the snapshot, checked. If it is ``read_only``, nothing can be marked.

        Raises:
            GrammarError: a size is negative, or a unique-id is none, or not unique (RFC 1939 section 7).
        """
        self._messages = tuple(messages)
        if any(message.size < 0 for message in self._messages):
            raise GrammarError("a message with a negative size")
        if not all(_UNIQUE_ID.fullmatch(message.uid) for message in self._messages):
            raise GrammarError("a unique-id that is not 1 to 70 characters of printable ASCII")
        if len({message.uid for message in self._messages}) != len(self._messages):
            raise GrammarError("two messages with the same unique-id")
        self._marked: set[int] = set()
        self._read_only = read_only
        self.reset()

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, number: int) -> MessageInfo:
        """Return message ``number``; raise `Refusal` if there is none, or if it is marked."""
        if not 1 <= number <= len(self._messages):
            raise Refusal(Response(False, Phrase(responses.NO_SUCH_MESSAGE, count=len(self._messages))))
        if number in self._marked:
            raise Refusal(Response(False, Phrase(responses.ALREADY_DELETED, number=number)))
        return self._messages[number - 1]

    @property
    def marked(self) -> tuple[int, ...]:
        """The numbers of the marked messages, in order."""
        return tuple(sorted(self._marked))

    def visit(self, number: int) -> MessageInfo:
        """Return message ``number`` like ``[number]``, and remember the visit for LAST."""
        message = self[number]
        self.last = max(self.last, number)
        return message

    def mark(self, number: int) -> None:
        """Mark message ``number`` as deleted (DELE); raise `Refusal` if that cannot be."""
        message = self[number]
        if self._read_only:
            raise Refusal(responses.READ_ONLY)
        self.last = max(self.last, number)
        self.octets -= message.size
        self.count -= 1
        self._marked.add(number)

    def reset(self) -> None:
        """Take all marks off (RSET)."""
        self._marked.clear()
        self.count = len(self._messages)
        self.octets = total_size(self._messages)
        self.last = 0

    def listed(self) -> Iterator[tuple[int, MessageInfo]]:
        """Yield number and message of all that are not marked."""
        for number, message in enumerate(self._messages, 1):
            if number not in self._marked:
                yield number, message
