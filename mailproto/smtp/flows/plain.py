"""Sending plain messages: small, in memory, nothing special about them, to a server with PIPELINING.

This is the short way of what `mailproto.smtp.flows.sending` does; as soon as anything is special, the long one takes
over.
"""

from __future__ import annotations

from mailproto._core.newlines import checked
from mailproto.errors import MailProtoError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.flows.transfer import ChunkTransfer, DataTransfer, Transfer
from mailproto.smtp.messages.content import Content, checked_octets
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.parameters import NO_MAIL_PARAMETERS, NO_RCPT_PARAMETERS
from mailproto.smtp.result import ACCEPTED, RecipientResult, SendResult

_SMALL = 64 << 10  # octets


def queue_plain(conn: SMTPClientConnection, submission: Submission) -> list[Command] | None:
    """Queue a message as a plain transaction and return the handles; None, and nothing is queued, if it is none."""
    message, recipients = submission.message, submission.recipients
    if not conn.pipelines or type(message) is not bytes or len(message) > _SMALL or message[-2:] != b"\r\n":
        return None
    if submission.parameters is not NO_MAIL_PARAMETERS or submission.progress is not None:
        return None
    if conn.exhausted or (len(recipients) > 1 and not _in_one(conn, len(recipients))):
        return None
    forward_paths = []
    for address, parameters in recipients:
        if parameters is not NO_RCPT_PARAMETERS:
            return None
        forward_paths.append(address)
    try:
        return conn.transact(submission.reverse_path, forward_paths, checked(message))
    except MailProtoError:
        return None  # the long way tells what is wrong, or mends it


def _in_one(conn: SMTPClientConnection, recipients: int) -> bool:
    """Say whether the server takes so many recipients at once, and says the same to all of them."""
    return recipients <= (conn.server_limits.rcpt_max or recipients) and not conn.uses("PRDR")


def accepted_by_all(submission: Submission, handles: list[Command]) -> SendResult:
    """Return the result of a plain transaction of which every command has had a good reply."""
    end = handles[-1]
    recipients = [
        RecipientResult(recipient.address, ACCEPTED, end.verb, end.reply, handles[number].reply)
        for number, recipient in enumerate(submission.recipients, 1)  # behind MAIL
    ]
    return SendResult(tuple(recipients), end.reply)


def plain_transfer(conn: SMTPClientConnection, submission: Submission, handles: list[Command]) -> Transfer:
    """Return a plain message on its way, of which these commands are queued."""
    kind = PlainDataTransfer if handles[-1].verb == "DATA" else PlainChunkTransfer
    return kind(conn, submission, handles)


class PlainChunkTransfer(ChunkTransfer):
    """A plain message in a chunk: all of it is queued."""

    def __init__(self, conn: SMTPClientConnection, submission: Submission, handles: list[Command]) -> None:
        mail, *self._recipients, self._end = handles
        super().__init__(conn, submission, Content(iter(())), mail)
        self._carriers.append(self._end)

    def queue(self) -> None:
        """Nothing is left to queue."""


class PlainDataTransfer(DataTransfer):
    """A plain message behind DATA: all but the message itself is queued."""

    def __init__(self, conn: SMTPClientConnection, submission: Submission, handles: list[Command]) -> None:
        mail, *self._recipients, data = handles
        super().__init__(conn, submission, Content(iter((checked_octets(submission.message),))), mail)
        self._carriers.append(data)

    def queue(self) -> None:
        """Nothing is left to queue yet."""
