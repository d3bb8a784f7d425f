"""What became of a message, for each of its recipients, by the replies to the commands that carry it."""

from __future__ import annotations

from collections.abc import Iterable

from mailproto._core.flow import Flow
from mailproto.address import Address
from mailproto.errors import ConnectionExhaustedError, GrammarError, MailProtoError, NotSupportedError, SourceError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.extensions.checkpoint import RESUME
from mailproto.smtp.message import Submission
from mailproto.smtp.reply import EnhancedStatus, Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult

_TOO_MANY_RECIPIENTS = EnhancedStatus(5, 5, 3)


class Sending:
    """One message: its commands, and the replies as far as they have come. Of this one nothing was said.

    Those that are on their way are in `mailproto.smtp.flows.transfer`.
    """

    def __init__(
        self, conn: SMTPClientConnection, submission: Submission, error: MailProtoError | None = None
    ) -> None:
        self._conn = conn
        self._submission = submission
        self._error = error
        self._mail: Command | None = None
        self._recipients: list[Command] = []
        self._carriers: list[Command] = []  # DATA, or the chunks
        self._end: Command | None = None  # what the server's final word is the reply to

    @property
    def complete(self) -> bool:
        """Whether all of the message was queued, so that another one may be queued behind it."""
        return True

    def carry(self) -> Flow[None]:
        """Read the replies to what was queued, and send the rest of the message if it is to be sent; once."""
        yield from ()

    def finish(self) -> Flow[None]:
        """Read the server's final word, and the reply to the RSET behind it, if that was not done yet."""
        yield from ()

    def result(self) -> SendResult:
        """Return what became of the message, by the replies that have come."""
        final = self._end.reply if self._end is not None else None
        own: Iterable[Command | None] = self._recipients or [None] * len(self._submission.recipients)
        words = self._final_words()
        results = tuple(
            self._recipient(address, command, words.get(index))
            for index, (address, command) in enumerate(zip(self._submission.forward_paths, own, strict=True))
        )
        return SendResult(results, final, self._error)

    @property
    def _accepted(self) -> list[int]:
        """The indices of the recipients that the server has accepted: without a sender none, whatever it says."""
        if self._mail is None or self._mail.reply is None or not self._mail.reply.ok:
            return []
        return [i for i, command in enumerate(self._recipients) if command.reply is not None and command.reply.ok]

    def _final_words(self) -> dict[int, Reply]:
        """Return the replies to the message itself, by the index of the recipient that each is for."""
        if self._end is None:
            return {}
        accepted, overall = self._accepted, self._end.reply
        if self._conn.config.lmtp:
            own = self._end.replies
            several = own * len(accepted) if len(own) == 1 and own[0].of_syntax else own  # one word for all of them
            return dict(zip(accepted, several, strict=False))
        if overall is None:
            return {}
        words = dict.fromkeys(accepted, overall)
        each = self._end.replies[:-1]
        for index, word in zip(accepted, each, strict=False):
            if overall.ok or not word.ok:
                words[index] = word
            elif len(each) < len(accepted):  # a farewell is no word for all, without which nobody knows
                del words[index]
        return words

    def _recipient(self, address: Address, command: Command | None, final: Reply | None) -> RecipientResult:
        own = command.reply if command is not None else None
        for decider in (self._mail, command, *self._carriers):
            reply = decider.reply if decider is not None and decider is not self._end else None
            if decider is not None and reply is not None and (not reply.ok or reply.code == RESUME):
                return RecipientResult(address, _outcome(reply, decider.verb), decider.verb, reply, own)
        if isinstance(self._error, NotSupportedError | GrammarError):
            return RecipientResult(address, Outcome.REFUSED, "message", None, own)
        if isinstance(self._error, SourceError) and self._end is None:
            return RecipientResult(address, Outcome.DEFERRED, "message", None, own)
        if self._end is None or (final is None and not self._end.sent):
            full = self._error if isinstance(self._error, ConnectionExhaustedError) else None
            return RecipientResult(address, Outcome.DEFERRED, "connection", None, own, full)
        if final is None:
            return RecipientResult(address, Outcome.UNKNOWN, self._end.verb, None, own)
        return RecipientResult(address, _outcome(final, self._end.verb), self._end.verb, final, own)


def _outcome(reply: Reply, verb: str) -> Outcome:
    if reply.code == RESUME:
        return Outcome.DEFERRED  # the interrupted transaction was taken back, and the next one begins anew
    if reply.ok:
        return Outcome.ACCEPTED
    if verb == "RCPT" and reply.code == 552 and reply.enhanced in (None, _TOO_MANY_RECIPIENTS):
        return Outcome.DEFERRED  # of an old server, which means a 452 (RFC 5321 section 4.5.3.1.10)
    return Outcome.REFUSED if reply.permanent else Outcome.DEFERRED
