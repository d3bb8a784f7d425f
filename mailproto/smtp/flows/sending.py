"""Sending messages in as few round trips as the server allows, and sorting out what became of each recipient.

MAIL, all RCPTs and DATA leave in one flight, and the next message's MAIL right behind the end of the last message.
With a server that does not pipeline the same commands leave one by one.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from dataclasses import replace

from mailproto._core.flow import Call, Flow, Want
from mailproto.address import Address
from mailproto.errors import (
    ConnectionClosedError,
    GrammarError,
    MailProtoError,
    NotSupportedError,
    RemoteProtocolError,
)
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.flows.client import wait_reply
from mailproto.smtp.message import Content, Submission, open_content
from mailproto.smtp.parameters import Body, MailParameters
from mailproto.smtp.reply import Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult

_FLUSH_BEYOND = 64 << 10


def send_message(conn: SMTPClientConnection, submission: Submission) -> Flow[SendResult]:
    """Send one message and return what became of it, refusals and a broken connection included.

    Raises:
        NotSupportedError: the message needs what the server does not offer. Nothing was sent.
        GrammarError: the message has a bare CR or LF. Nothing was sent, if it was not a file or an iterable;
            otherwise the connection had to be closed.
    """
    (result,) = yield from send_messages(conn, (submission,))
    if isinstance(result.error, NotSupportedError | GrammarError):
        raise result.error
    return result


def send_messages(conn: SMTPClientConnection, submissions: Iterable[Submission]) -> Flow[list[SendResult]]:
    """Send several messages over one connection, each begun before the reply to the last one is there.

    Returns:
        A result for each, in their order. What `send_message` raises is the ``error`` of its result here. When
        the connection breaks, the messages behind are deferred.
    """
    sendings: list[_Sending] = []
    for submission in submissions:
        previous = sendings[-1] if sendings else None
        sending = _Sending(conn, submission)
        sendings.append(sending)
        if not conn.closing:
            sending.queue()
        if previous is not None:
            yield from previous.finish()
        if (yield from sending.ask()):
            yield from sending.stream()
    if sendings:
        yield from sendings[-1].finish()
    return [sending.result() for sending in sendings]


class _Sending:
    """One message on its way: its commands, and the replies as far as they have come."""

    def __init__(self, conn: SMTPClientConnection, submission: Submission) -> None:
        self._conn = conn
        self._submission = submission
        self._content: Content | None = None
        self._mail: Command | None = None
        self._recipients: list[Command] = []
        self._data: Command | None = None
        self._end: Command | None = None
        self._error: MailProtoError | None = None

    def queue(self) -> None:
        """Queue MAIL, the RCPTs and DATA, after everything that could be wrong with them was checked."""
        submission = self._submission
        conn = self._conn
        try:
            self._content = open_content(submission, eight_bit="8BITMIME" in conn.extensions)
            parameters = _parameters(conn, submission, self._content)
        except (NotSupportedError, GrammarError) as error:
            self._error = error
            return
        self._mail = conn.mail(submission.reverse_path, parameters)
        self._recipients = [conn.rcpt(address) for address in submission.recipients]
        self._data = conn.data(canonicalise=submission.canonicalise)

    def ask(self) -> Flow[bool]:
        """Read the replies up to the one to DATA; say whether the server waits for the message."""
        conn = self._conn
        if self._mail is None or self._data is None:
            return False
        try:
            for command in (self._mail, *self._recipients):
                yield from wait_reply(conn, command)
            reply = yield from wait_reply(conn, self._data)
            if reply is not None and reply.code == 354:
                return True
            if conn.in_transaction and not conn.closing:
                yield from wait_reply(conn, conn.rset())
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error
        return False

    def stream(self) -> Flow[None]:
        """Send the message, and its end."""
        conn = self._conn
        pieces = self._content.pieces if self._content is not None else ()
        try:
            if isinstance(pieces, AsyncIterable):
                iterator = pieces.__aiter__()
                while piece := (yield Call(anext, (iterator, b""))):
                    yield from self._send(piece)
            else:
                for piece in pieces:
                    yield from self._send(piece)
            if not conn.closing:
                self._end = conn.end_data()
        except ConnectionClosedError as error:
            self._error = error
        except GrammarError as error:
            self._error = error
            conn.shut_down()  # half a message cannot be taken back, only cut off

    def _send(self, piece: bytes) -> Flow[None]:
        if self._conn.closing:
            return
        self._conn.send_data(piece)
        if self._conn.queued >= _FLUSH_BEYOND:
            yield Want.FLUSH

    def finish(self) -> Flow[None]:
        """Read the server's final word."""
        if self._end is None or self._error is not None:
            return
        try:
            yield from wait_reply(self._conn, self._end)
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error

    def result(self) -> SendResult:
        """Return what became of the message, by the replies that have come."""
        final = self._end.reply if self._end is not None else None
        commands: Iterable[Command | None] = self._recipients or [None] * len(self._submission.recipients)
        results = tuple(map(self._recipient, self._submission.recipients, commands))
        return SendResult(results, final, self._error)

    def _recipient(self, address: Address, command: Command | None) -> RecipientResult:
        own = command.reply if command is not None else None
        for decider in (self._mail, command, self._data, self._end):
            if decider is not None and decider.reply is not None and not decider.reply.ok:
                return RecipientResult(address, _outcome(decider.reply), decider.verb, decider.reply, own)
        if isinstance(self._error, NotSupportedError | GrammarError):
            return RecipientResult(address, Outcome.REFUSED, "message", None, own)
        if self._end is None:
            return RecipientResult(address, Outcome.DEFERRED, "connection", None, own)
        if self._end.reply is None:
            return RecipientResult(address, Outcome.UNKNOWN, self._end.verb, None, own)
        return RecipientResult(address, Outcome.ACCEPTED, self._end.verb, self._end.reply, own)


def _outcome(reply: Reply) -> Outcome:
    return Outcome.REFUSED if reply.permanent else Outcome.DEFERRED


def _parameters(conn: SMTPClientConnection, submission: Submission, content: Content) -> MailParameters:
    """Return the parameters of MAIL: the caller's, and what the message itself needs.

    Raises:
        NotSupportedError: the message needs what the server does not offer.
    """
    values = submission.parameters
    if submission.needs_utf8:
        if "SMTPUTF8" not in conn.extensions:
            raise NotSupportedError("an address is not ASCII, and the server does not offer SMTPUTF8")
        values = replace(values, smtputf8=True)
    if values.body is None and content.eight_bit is not False:
        if "8BITMIME" in conn.extensions:
            values = replace(values, body=Body.EIGHT_BIT_MIME)
        elif content.eight_bit:
            raise NotSupportedError("the message has 8-bit octets, and the server does not offer 8BITMIME")
    if content.size is not None:
        limit = conn.max_message_size
        if limit is not None and content.size > limit:
            raise NotSupportedError(f"the message has {content.size} octets, and the server takes {limit}")
        if values.size is None and "SIZE" in conn.extensions:
            values = replace(values, size=content.size)
    return values
