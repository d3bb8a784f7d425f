"""What became of a message: the whole truth, for each recipient."""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final, NamedTuple

from mailproto.address import Address
from mailproto.errors import MailProtoError
from mailproto.smtp.reply import Reply, harmless


class Outcome(enum.Enum):
    """What became of a message for one recipient.

    Attributes:
        ACCEPTED: the server has taken over the responsibility.
        REFUSED: permanently (5yz): sending the same again is of no use.
        DEFERRED: temporarily (4yz), or the connection broke before the message was complete: try again later.
        UNKNOWN: the connection broke after the end of the message was sent: who tries again may send it twice
            (RFC 1047).
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"


ACCEPTED: Final = Outcome.ACCEPTED  # by this name it costs less, up to Python 3.11, than an attribute of the class


class RecipientResult(NamedTuple):
    """What became of a message for one recipient.

    ``phase`` is the command whose reply decided: ``MAIL``, ``RCPT``, ``DATA``, ``BDAT``, or ``"."`` for the end of
    a message; without a reply it is ``connection`` (it broke), or ``message`` (it could not be sent to this server).
    ``recipient_reply`` is the reply to the RCPT, whatever came after. ``error`` says why this recipient was
    never named to a server that would have taken others.
    """

    address: Address
    outcome: Outcome
    phase: str
    reply: Reply | None = None
    recipient_reply: Reply | None = None
    error: MailProtoError | None = None

    def __repr__(self) -> str:
        return harmless(f"<{self.address}: {self.outcome.value} ({self._reason})>")

    @property
    def _reason(self) -> Reply | MailProtoError | str:
        return self.reply or self.error or self.phase


class SendResult(NamedTuple):
    """What became of a message.

    ``recipients`` are in the order in which they were given. ``reply`` is the server's final word on the message,
    None if there was none; ``error`` is what broke the connection, kept the message from being sent, or failed on the
    caller's own side; None if nothing did. It is a tuple of the three, so that text is made of it with
    ``f"{result}"``, and not with ``%``.
    """

    recipients: tuple[RecipientResult, ...]
    reply: Reply | None = None
    error: MailProtoError | None = None

    def __repr__(self) -> str:
        counts = Counter(recipient.outcome.value for recipient in self.recipients)
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        failed = self._failed
        why = self.error or (f"{failed[0].address}: {failed[0]._reason}" if failed else self.reply)
        return harmless(f"<SendResult: {said or 'nobody'} ({why})>")

    @property
    def _failed(self) -> list[RecipientResult]:
        return [recipient for recipient in self.recipients if recipient.outcome is not ACCEPTED]

    def _with(self, outcome: Outcome) -> tuple[RecipientResult, ...]:
        return tuple(recipient for recipient in self.recipients if recipient.outcome is outcome)

    @property
    def accepted(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom the server has taken the message."""
        return self._with(Outcome.ACCEPTED)

    @property
    def refused(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom it never will."""
        return self._with(Outcome.REFUSED)

    @property
    def deferred(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom another try may help, and does no harm."""
        return self._with(Outcome.DEFERRED)

    @property
    def unknown(self) -> tuple[RecipientResult, ...]:
        """The recipients who have the message or have it not."""
        return self._with(Outcome.UNKNOWN)

    @property
    def ok(self) -> bool:
        """Whether the message was accepted for all."""
        return not self._failed

    @property
    def queue_id(self) -> str | None:
        """The server's name for the message, if its reply seems to tell."""
        return self.reply.queue_id if self.reply is not None and self.accepted else None

    def raise_for_refused(self) -> None:
        """Raise unless the message was accepted for all.

        Raises:
            DeliveryError: it was not; the error carries this result.
        """
        if not self.ok:
            raise DeliveryError(self)


class DeliveryError(MailProtoError):
    """A message was not accepted for all of its recipients. ``result`` says for whom, and why."""

    def __init__(self, result: SendResult) -> None:
        failed = result._failed
        first = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        reason = first.reply or first.error or result.error
        super().__init__(f"{first.address}{more}: {first.outcome.value} ({reason})")
        self.result = result
