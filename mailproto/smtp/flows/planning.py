"""Which recipients of a message go in which transaction, within the limits of the server (RFC 9422).

A recipient whom this server cannot be named, and one domain too many, are settled before anything is sent, and stand
in nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailproto.errors import ConnectionExhaustedError, GrammarError, MailProtoError, NotSupportedError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.flows.fitting import uses_utf8
from mailproto.smtp.flows.outcomes import Sending
from mailproto.smtp.messages.content import repeatable
from mailproto.smtp.messages.submission import Recipient, Submission
from mailproto.smtp.parameters import NO_RCPT_PARAMETERS
from mailproto.smtp.result import Outcome, RecipientResult, SendResult


class Plan:
    """How one message goes.

    Attributes:
        parts: a submission for each transaction.
        sendings: those of them that were begun, or failed to be.
    """

    def __init__(self, conn: SMTPClientConnection, submission: Submission) -> None:
        self._submission = submission
        self._settled: dict[int, RecipientResult] = {}
        self.sendings: list[Sending] = []
        self.parts = (submission,) if _is_plain(conn, submission.recipients) else self._split(conn)

    def result(self) -> SendResult:
        """Return what became of the message, from what became of its parts: the recipients in the order given.

        The final reply is the last one, the error the first.
        """
        if len(self.sendings) == 1 and not self._settled:
            return self.sendings[0].result()
        results = [sending.result() for sending in self.sendings]
        sent = (recipient for result in results for recipient in result.recipients)
        recipients = tuple(self._settled.get(i) or next(sent) for i in range(len(self._submission.recipients)))
        words = [result.reply for result in results if result.reply is not None]
        return SendResult(recipients, words[-1] if words else None, next(self._errors(results), None))

    def _errors(self, results: Sequence[SendResult]) -> Iterator[MailProtoError]:
        yield from (result.error for result in results if result.error is not None)
        for settled in self._settled.values():
            if isinstance(settled.error, ConnectionExhaustedError):
                yield settled.error

    def _split(self, conn: SMTPClientConnection) -> tuple[Submission, ...]:
        """Return a submission for each transaction."""
        submission, going = self._submission, self._going(conn)
        size = conn.server_limits.rcpt_max or len(going) or 1
        message = submission.message if len(going) <= size else repeatable(submission.message)
        return tuple(
            submission._replace(recipients=tuple(going[start : start + size]), message=message)
            for start in range(0, len(going), size)
        )

    def _going(self, conn: SMTPClientConnection) -> list[Recipient]:
        """Return the recipients whom the server can be named, and settle the others."""
        limit = conn.server_limits.rcpt_domain_max
        going: list[Recipient] = []
        utf8 = uses_utf8(conn, self._submission)
        domains = set(conn.recipient_domains)
        for index, recipient in enumerate(self._submission.recipients):
            address, parameters = recipient
            try:
                domain = conn.check_rcpt(address, parameters, smtputf8=utf8).canonical.domain
            except (NotSupportedError, GrammarError) as error:
                self._settled[index] = RecipientResult(address, Outcome.REFUSED, "message", error=error)
                continue
            if limit is not None and domain not in domains and len(domains) >= limit:
                full = ConnectionExhaustedError(f"the server takes recipients in {limit} domains on a connection")
                self._settled[index] = RecipientResult(address, Outcome.DEFERRED, "connection", error=full)
                continue
            domains.add(domain)
            going.append(recipient)
        return going


def _is_plain(conn: SMTPClientConnection, recipients: Sequence[Recipient]) -> bool:
    """Say whether any server can be named these recipients, and this one all of them in one transaction."""
    limits = conn.server_limits
    if limits.rcpt_domain_max is not None or len(recipients) > (limits.rcpt_max or len(recipients)):
        return False
    return all(each.parameters is NO_RCPT_PARAMETERS and each.address.is_ascii for each in recipients)
