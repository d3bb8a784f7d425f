"""What came of each attempt to hand a message on, for the operator's log and for the application."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass

from mailproto.address import Address, format_path
from mailproto.smtp.reply import Reply

logger = logging.getLogger("mailproto.relay")

_MAX_TEXT = 400  # characters of a stranger's in a line of the log; an address has 320 at most


class Fate(enum.Enum):
    """What became of a message for one recipient.

    Attributes:
        DELIVERED: the next host has taken it.
        DEFERRED: it is tried again later.
        BOUNCED: it is given up, and its sender told, unless that is nobody, or he does not want to hear of it.
        REMOVED: it is given up, and nobody told: it was ordered so.
    """

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of an attempt to hand a message on, for one recipient. As text it is one line that is fit for a log.

    Args:
        queue_id: the name of the message in the queue.
        sender: its reverse-path; None is the null reverse-path.
        recipient: for whom it is.
        fate: what became of it.
        host: the host that was asked, by its name, over a route with its port unless that is 25, or by the path of
            its unix socket; None if it did not come to that.
        reply: what was said, by the host or by the relay itself.
        duration: the seconds it took to reach the host, or, if it was reached, to give it the message; None if no
            host was asked.
        age: the seconds since the message came.
    """

    queue_id: str
    sender: Address | None
    recipient: Address
    fate: Fate
    host: str | None
    reply: Reply
    duration: float | None
    age: float

    def __str__(self) -> str:
        fields = [
            f"{self.queue_id}: {self.fate.value}",
            f"to={one_line(format_path(self.recipient))}",
            f"from={one_line(format_path(self.sender))}",
        ]
        if self.host is not None:
            fields.append(f"host={one_line(self.host)}")
        if self.duration is not None:
            fields.append(f"duration={self.duration:.3f}")
        return " ".join((*fields, f"age={self.age:.0f}", f"reply={one_line(str(self.reply))}"))


def log_attempt(attempt: Attempt) -> None:
    """Log an attempt as a line of the level INFO, by the logger ``mailproto.relay``.

    The record has the attempt itself as its attribute ``attempt``, for handlers that write something else.
    """
    logger.info("%s", attempt, extra={"attempt": attempt})


def one_line(text: str) -> str:
    """Return a stranger's text fit for a log: what ends lines, moves cursors or turns letters around is escaped."""
    shown = text[:_MAX_TEXT]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
