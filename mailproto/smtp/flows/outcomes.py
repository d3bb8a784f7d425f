"""What became of a message, for each of its recipients, by the replies to the commands that carry it."""

from __future__ import annotations

from collections.abc import Sequence

from mailproto.address import Address
from mailproto.errors import ConnectionExhaustedError, GrammarError, MailProtoError, NotSupportedError, SourceError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.extensions.checkpoint import RESUME
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.reply import EnhancedStatus, Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult

_TOO_MANY_RECIPIENTS = EnhancedStatus(5, 5, 3)


class Sending:
    """One message: its commands, and the replies as far as they have come. Of this one nothing was said.

    Those that are on their way are in `mailproto.smtp.flows.transfer`.
    """

    _mail: Command | None = None
    _recipients: Sequence[Command] = ()
    _accepted: Sequence[Command] = ()  # those of the recipients whom the server takes the message for
    _end: Command | None = None  # what the server's final word is the reply to

    def __init__(
        self, conn: SMTPClientConnection, submission: Submission, error: MailProtoError | None = None
    ) -> None:
        self._conn = conn
        self._submission = submission
        self._error = error
        self._carriers: list[Command] = []  # DATA, or the chunks

    def result(self) -> SendResult:
        """Return what became of the message, by the replies that have come."""
        final = self._end.reply if self._end is not None else None
        recipients = self._submission.recipients
        own: Sequence[Command | None] = self._recipients or [None] * len(recipients)
        words = self._final_words()
        results = [
            self._recipient(recipient.address, command, words.get(command))
            for recipient, command in zip(recipients, own, strict=True)
        ]
        return SendResult(tuple(results), final, self._error)

    def _final_words(self) -> dict[Command | None, Reply]:
        """Return the replies to the message itself, by the RCPT that named the recipient whom each is for."""
        if self._end is None:
            return {}
        accepted, overall, own = self._accepted, self._end.reply, self._end.replies
        if not own:  # one word for all, if it has come
            return dict.fromkeys(accepted, overall) if overall is not None else {}
        if self._conn.config.lmtp:
            several = own * len(accepted) if len(own) == 1 and own[0].of_syntax else own  # one word for all of them
            return dict(zip(accepted, several, strict=False))
        if overall is None:
            return {}
        words: dict[Command | None, Reply] = dict.fromkeys(accepted, overall)
        each = own[:-1]
        for command, word in zip(accepted, each, strict=False):
            if overall.ok or not word.ok:
                words[command] = word
            elif len(each) < len(accepted):  # a farewell is no word for all, without which nobody knows
                del words[command]
        return words

    def _recipient(self, address: Address, command: Command | None, final: Reply | None) -> RecipientResult:
        own = command.reply if command is not None else None
        decider, reply = self._end, final
        for before in (self._mail, command, *self._carriers):
            if before is not None and before.refused and before is not self._end:
                decider, reply = before, before.reply
                break
        if decider is None or reply is None:
            return self._undecided(address, own)
        return RecipientResult(address, _outcome(reply, decider.verb), decider.verb, reply, own)

    def _undecided(self, address: Address, own: Reply | None) -> RecipientResult:
        """Return what became of the message for a recipient without a reply that decides it."""
        if isinstance(self._error, NotSupportedError | GrammarError):
            return RecipientResult(address, Outcome.REFUSED, "message", None, own)
        if isinstance(self._error, SourceError) and self._end is None:
            return RecipientResult(address, Outcome.DEFERRED, "message", None, own)
        if self._end is None or not self._end.sent:
            full = self._error if isinstance(self._error, ConnectionExhaustedError) else None
            return RecipientResult(address, Outcome.DEFERRED, "connection", None, own, full)
        return RecipientResult(address, Outcome.UNKNOWN, self._end.verb, None, own)


def _outcome(reply: Reply, verb: str) -> Outcome:
    if reply.code == RESUME:
        return Outcome.DEFERRED  # the interrupted transaction was taken back, and the next one begins anew
    if reply.ok:  # to DATA it says nothing that could be meant
        return Outcome.DEFERRED if verb == "DATA" else Outcome.ACCEPTED
    if verb == "RCPT" and reply.code == 552 and reply.enhanced in (None, _TOO_MANY_RECIPIENTS):
        return Outcome.DEFERRED  # of an old server, which means a 452 (RFC 5321 section 4.5.3.1.10)
    return Outcome.REFUSED if reply.permanent else Outcome.DEFERRED
