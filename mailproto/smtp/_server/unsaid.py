"""The yes to a message that its client never hears, because the connection was lost before it left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mailproto.smtp.events import Mail, Rcpt
from mailproto.smtp.reply import Reply


@dataclass(frozen=True, slots=True)
class ReplyLost:
    """A message was accepted, and the client has certainly not been told: it will send it again.

    Args:
        reply: what it would have heard.
        mail: the MAIL of the message.
        recipients: those that the reply was for: all that were accepted, in LMTP only one of them.
    """

    reply: Reply
    mail: Mail
    recipients: Sequence[Rcpt]


_Answer: TypeAlias = tuple[Reply, Mail, Sequence[Rcpt]]


class Unsaid:
    """Keeps the answers to accepted messages until they have left."""

    __slots__ = ("_gone", "_last", "_mark", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[_Answer] = []
        self._mark = 0  # octets of output up to the end of the last of them
        self._last: _Answer | None = None  # the one that the output which left last ends with
        self._gone = False

    def add(self, reply: Reply, mail: Mail, recipients: Sequence[Rcpt], queued: int) -> None:
        """Note an answer, the last one of ``queued`` octets that wait to be sent."""
        self._waiting.append((reply, mail, recipients))
        self._mark = queued

    def leave(self, queued: int) -> None:
        """Learn that the ``queued`` octets are on their way, and so that those before them have left."""
        self._last = None
        if self._waiting and not self._gone:
            if self._mark == queued:
                self._last = self._waiting[-1]
            self._waiting.clear()

    def lose(self, partly: bool) -> None:
        """Learn that nothing leaves any more, and perhaps that the end of what was on its way did not."""
        self._gone = True
        if partly and self._last is not None:
            self._waiting.insert(0, self._last)
        self._last = None

    @property
    def lost(self) -> tuple[ReplyLost, ...]:
        """The answers that certainly did not leave."""
        return tuple(ReplyLost(*answer) for answer in self._waiting) if self._gone else ()
