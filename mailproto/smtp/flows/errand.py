"""One message on its way through a pool: over which connections it has to go until everybody was named to the server.

A connection from the shelf may be gone, and a server may take only so many domains, or transactions, on each (RFC
9422 sections 4.1 and 4.3). Both are no reason to defer anybody whom another connection has room for.
"""

from __future__ import annotations

from mailproto.errors import ConnectionClosedError, ConnectionExhaustedError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.messages.content import repeatable
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.result import Outcome, RecipientResult, SendResult


class Errand:
    """A message, and what has become of it so far.

    Attributes:
        rest: what the next connection is to be given.
        done: whether everybody had his turn, so that nothing is left for another one.
        result: what became of the message; of nobody, if nothing has left yet.
    """

    def __init__(self, submission: Submission) -> None:
        if submission.downgrade:  # it may be read before it shows that the connection is stale
            submission = submission._replace(message=repeatable(submission.message))
        self.rest = submission
        self.done = False
        self.result = SendResult(())
        self._submission = submission

    @property
    def begun(self) -> bool:
        """Whether anything was tried that counts."""
        return bool(self.result.recipients)

    def begin(self, conn: SMTPClientConnection) -> Submission:
        """Return what to send over this connection.

        A file or an iterable that some will get over another one is kept while it is read.
        """
        if _may_be_split(conn, self.rest):
            self.rest = self.rest._replace(message=repeatable(self.rest.message))
            self._submission = self._submission._replace(message=self.rest.message)
        return self.rest

    def note(self, result: SendResult, *, fresh: bool) -> bool:
        """Note what came of it over a connection, and say whether this one is fit for other messages.

        That a connection was gone already counts only if it is fresh: from the shelf it was stale.
        """
        stale = _is_untouched(result)
        if stale and not fresh:
            return False
        self.result = _merge(self.result, result) if self.begun else result
        results = zip(self._submission.recipients, self.result.recipients, strict=True)
        left = tuple(recipient for recipient, own in results if _has_no_room(own))
        self.done = stale or not left
        if not self.done:
            self.rest = self._submission._replace(recipients=left)
        return not (left or stale)


def _may_be_split(conn: SMTPClientConnection, submission: Submission) -> bool:
    """Say whether this server may take the message only in several transactions."""
    limits, count = conn.server_limits, len(submission.recipients)
    return count > 1 and (limits.rcpt_domain_max is not None or (limits.rcpt_max or count) < count)


def _merge(before: SendResult, result: SendResult) -> SendResult:
    """Return what became of a message, of which those had another turn for whom there was no room before."""
    turns = iter(result.recipients)
    recipients = tuple(next(turns) if _has_no_room(own) else own for own in before.recipients)
    error = result.error if isinstance(before.error, ConnectionExhaustedError) else before.error
    return SendResult(recipients, result.reply or before.reply, error)


def _has_no_room(recipient: RecipientResult) -> bool:
    return isinstance(recipient.error, ConnectionExhaustedError)


def _is_untouched(result: SendResult) -> bool:
    """Say whether a message failed because the connection was gone, or full, already.

    It did only if the server had nothing to say to it, or good-bye: then nothing of the message has been sent.
    """
    return isinstance(result.error, ConnectionClosedError) and all(map(_was_not_named, result.recipients))


def _was_not_named(recipient: RecipientResult) -> bool:
    farewell = recipient.reply is not None and recipient.reply.code == 421 and recipient.phase == "MAIL"
    silence = recipient.outcome is Outcome.DEFERRED and recipient.phase == "connection"
    return (farewell or silence) and recipient.recipient_reply is None
