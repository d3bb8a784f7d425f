"""Sending messages in as few round trips as the server allows, and sorting out what became of each recipient.

MAIL, all RCPTs and DATA leave in one flight, and the next message's MAIL right behind the end of the last message.
A message that goes in chunks (RFC 3030) does not even wait for a go-ahead. With a server that does not pipeline the
same commands leave one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any

from mailproto._core.flow import Call, Flow, Want
from mailproto.address import Address
from mailproto.errors import (
    ConnectionClosedError,
    ConnectionExhaustedError,
    GrammarError,
    MailProtoError,
    NotSupportedError,
    RemoteProtocolError,
)
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.content import Content, open_content
from mailproto.smtp.flows.client import wait_reply
from mailproto.smtp.flows.fitting import fit_parameters, suits_chunks, uses_utf8
from mailproto.smtp.flows.planning import Plan
from mailproto.smtp.message import Submission
from mailproto.smtp.reply import Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult

_FLUSH_BEYOND = 64 << 10  # octets of output
_CHUNKS_AHEAD = 4  # chunks sent before the reply to the first of them is looked at


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
        the connection breaks, the messages behind are deferred; so are those that the server takes only on another
        connection, see `ConnectionExhaustedError`.
    """
    plans: list[Plan] = []
    sendings: list[_Sending] = []
    previous: _Sending | None = None
    for submission in _parts(conn, submissions, plans):
        if previous is not None:
            if not conn.pipelines:  # what is queued now leaves no sooner, but perhaps too soon
                yield from previous.finish()
            yield from previous.clear()
        sending = _begin(conn, submission)
        if previous is not None:
            yield from previous.finish()
        ready = yield from sending.ask()
        if previous is not None and previous.broke_off and sending.out_of_sequence:
            yield from previous.clear()
            sending = _begin(conn, submission)
            ready = yield from sending.ask()
        if ready:
            yield from sending.transfer()
        sendings.append(sending)
        previous = sending
    if previous is not None:
        yield from previous.finish()
        yield from previous.clear()
    results = (sending.result() for sending in sendings)
    return [plan.merge([next(results) for _ in plan.parts]) for plan in plans]


def _parts(conn: SMTPClientConnection, submissions: Iterable[Submission], plans: list[Plan]) -> Iterator[Submission]:
    """Yield what goes in a transaction each, and note the plan of every submission."""
    for submission in submissions:
        plan = Plan(conn, submission)
        plans.append(plan)
        yield from plan.parts


def _begin(conn: SMTPClientConnection, submission: Submission) -> _Sending:
    """Check everything that can be checked before, and queue the first commands if nothing is wrong."""
    if conn.exhausted:
        exhausted = ConnectionExhaustedError("the server takes no more messages on this connection")
        return _Sending(conn, submission, Content(()), exhausted)
    if conn.over:
        return _Sending(conn, submission, Content(()), ConnectionClosedError("the connection is closed"))
    utf8 = uses_utf8(conn, submission)
    eight_bit = conn.uses("8BITMIME")
    try:
        content = open_content(submission, eight_bit=eight_bit, utf8=utf8, idna_encode=conn.config.idna_encode)
        parameters = fit_parameters(conn, submission, content, utf8=utf8)
        mail = conn.mail(submission.reverse_path, parameters)
    except (NotSupportedError, GrammarError) as error:
        return _Sending(conn, submission, Content(()), error)
    kind = _ChunkSending if suits_chunks(conn, parameters, content) else _DataSending
    sending = kind(conn, submission, content)
    sending.mail = mail
    sending.recipients = [conn.rcpt(*recipient) for recipient in submission.recipients]
    sending.queue_more()
    return sending


class _Sending:
    """One message on its way: its commands, and the replies as far as they have come."""

    def __init__(
        self,
        conn: SMTPClientConnection,
        submission: Submission,
        content: Content,
        error: MailProtoError | None = None,
    ) -> None:
        self.mail: Command | None = None
        self.recipients: list[Command] = []
        self._conn = conn
        self._submission = submission
        self._size = content.size
        self._iterator = _iterator(content.pieces)
        self._error = error
        self._carriers: list[Command] = []  # DATA, or the chunks
        self._sent = 0  # octets of the message that were handed over
        self._was_reset = False
        self._end: Command | None = None  # what the server's final word is the reply to

    def queue_more(self) -> None:
        """Queue what can leave together with MAIL and RCPT."""

    def ask(self) -> Flow[bool]:
        """Read the replies to what was queued; say whether the message is to be transferred."""
        if self.mail is None:
            return False
        try:
            for command in (self.mail, *self.recipients):
                yield from wait_reply(self._conn, command)
            if (yield from self._may_go_on()):
                return True
            yield from self._take_back()
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error
        return False

    def transfer(self) -> Flow[None]:
        """Send the message, or the rest of it, and its end."""
        try:
            yield from self._transfer()
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error
        except GrammarError as error:
            self._error = error
            self._conn.shut_down()  # half a message cannot be taken back, only cut off

    def finish(self) -> Flow[None]:
        """Read the server's final word, if that was not done yet."""
        if self._end is None or self._end.reply is not None or self._error is not None:
            return
        try:
            yield from wait_reply(self._conn, self._end)
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error

    def clear(self) -> Flow[None]:
        """End the transaction that the server may still be in behind a refused chunk (RFC 3030 section 2)."""
        if self.broke_off and not self._conn.over:
            with suppress(ConnectionClosedError, RemoteProtocolError):
                yield from self._reset()

    def result(self) -> SendResult:
        """Return what became of the message, by the replies that have come."""
        final = self._end.reply if self._end is not None else None
        own: Iterable[Command | None] = self.recipients or [None] * len(self._submission.recipients)
        words = self._final_words()
        results = tuple(
            self._recipient(address, command, words.get(index))
            for index, (address, command) in enumerate(zip(self._submission.forward_paths, own, strict=True))
        )
        return SendResult(results, final, self._error)

    def _may_go_on(self) -> Flow[bool]:
        """Say, all recipients being settled, whether the message is to be transferred."""
        raise NotImplementedError

    def _transfer(self) -> Flow[None]:
        """Send the message."""
        raise NotImplementedError

    def _take_back(self) -> Flow[None]:
        """End the transaction that comes to nothing, so that the connection is fit for the next one."""
        if self._conn.in_transaction and not self._conn.closing:
            yield from self._reset()

    def _reset(self) -> Flow[None]:
        yield from wait_reply(self._conn, self._conn.rset())
        self._was_reset = True

    def _report(self, octets: int) -> Flow[None]:
        """Tell the caller, if he wants to know, that so many more octets have left."""
        self._sent += octets
        if self._submission.progress is not None:
            yield Call(self._submission.progress, (self._sent, self._size))

    def _next_piece(self) -> Flow[bytes]:
        """Return the next piece of the message, ``b""`` behind the last."""
        piece: bytes | None = b""
        while piece == b"":  # which ends nothing: only the iterator's end does
            if isinstance(self._iterator, AsyncIterator):
                piece = yield Call(anext, (self._iterator, None))
            else:
                piece = next(self._iterator, None)
        return piece or b""

    @property
    def broke_off(self) -> bool:
        """Whether a chunk was refused, and nothing done about it, so that it is not clear where the server stands."""
        if self._was_reset:
            return False
        return any(command.verb == "BDAT" and command.reply and not command.reply.ok for command in self._carriers)

    @property
    def out_of_sequence(self) -> bool:
        """Whether the server took MAIL for one that comes at the wrong time."""
        return self.mail is not None and self.mail.reply is not None and self.mail.reply.code == 503

    @property
    def _accepted(self) -> list[int]:
        """The indices of the recipients that the server has accepted."""
        return [i for i, command in enumerate(self.recipients) if command.reply is not None and command.reply.ok]

    def _final_words(self) -> dict[int, Reply]:
        """Return the replies to the message itself, by the index of the recipient that each is for."""
        if self._end is None:
            return {}
        if self._conn.config.lmtp:
            return dict(zip(self._accepted, self._end.replies, strict=False))
        return dict.fromkeys(self._accepted, self._end.reply) if self._end.reply is not None else {}

    def _recipient(self, address: Address, command: Command | None, final: Reply | None) -> RecipientResult:
        own = command.reply if command is not None else None
        for decider in (self.mail, command, *self._carriers):
            reply = decider.reply if decider is not None and decider is not self._end else None
            if decider is not None and reply is not None and not reply.ok:
                return RecipientResult(address, _outcome(reply, decider.verb), decider.verb, reply, own)
        if isinstance(self._error, NotSupportedError | GrammarError):
            return RecipientResult(address, Outcome.REFUSED, "message", None, own)
        if self._end is None:
            return RecipientResult(address, Outcome.DEFERRED, "connection", None, own)
        if final is None:
            return RecipientResult(address, Outcome.UNKNOWN, self._end.verb, None, own)
        return RecipientResult(address, _outcome(final, self._end.verb), self._end.verb, final, own)


class _DataSending(_Sending):
    """A message that goes with DATA: the server says first that it waits for it."""

    def queue_more(self) -> None:
        self._carriers = [self._conn.data(canonicalise=self._submission.canonicalise)]

    def _may_go_on(self) -> Flow[bool]:
        reply = yield from wait_reply(self._conn, self._carriers[0])
        return reply is not None and reply.code // 100 == 3

    def _transfer(self) -> Flow[None]:
        conn = self._conn
        while piece := (yield from self._next_piece()):
            conn.send_data(piece)
            if conn.queued >= _FLUSH_BEYOND:
                yield Want.FLUSH
            if conn.closing:
                raise ConnectionClosedError("the server hung up during the message")
            yield from self._report(len(piece))
        self._end = conn.end_data()


class _ChunkSending(_Sending):
    """A message that goes with BDAT. What is small leaves together with MAIL and RCPT."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._begun = 0  # octets that left together with MAIL and RCPT
        self._ahead = b""  # the next chunk: which one is the last shows only behind it

    def queue_more(self) -> None:
        # In LMTP the recipients have to be settled first, and only octets in memory can be sent twice.
        if self._size is not None and not self._conn.config.lmtp and not isinstance(self._iterator, AsyncIterator):
            first = next(self._iterator, b"")
            self._ahead = next(self._iterator, b"")
            self._begun = len(first)
            self._queue_chunk(first, not self._ahead)

    def _may_go_on(self) -> Flow[bool]:
        if self._accepted:
            return True
        for chunk in self._carriers:
            yield from wait_reply(self._conn, chunk)
        self._end = None
        return False

    def _transfer(self) -> Flow[None]:
        waiting = deque(self._carriers)
        yield from self._report(self._begun)
        while self._end is None:
            chunk = self._ahead or (yield from self._next_chunk())
            self._ahead = yield from self._next_chunk()
            waiting.append(self._queue_chunk(chunk, not self._ahead))
            yield Want.FLUSH
            yield from self._report(len(chunk))
            if len(waiting) > _CHUNKS_AHEAD:
                reply = yield from wait_reply(self._conn, waiting.popleft())
                if reply is None or not reply.ok:
                    yield from self._take_back()
                    return

    def _next_chunk(self) -> Flow[bytes]:
        """Return the next pieces of the message, enough of them for a chunk, ``b""`` behind the last."""
        pieces: list[bytes] = []
        size = 0
        while size < _FLUSH_BEYOND and (piece := (yield from self._next_piece())):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _queue_chunk(self, data: bytes, last: bool) -> Command:
        chunk = self._conn.bdat(data, last=last, canonicalise=self._submission.canonicalise)
        self._carriers.append(chunk)
        if last:
            self._end = chunk
        return chunk


def _iterator(pieces: Iterable[bytes] | AsyncIterable[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    return aiter(pieces) if isinstance(pieces, AsyncIterable) else iter(pieces)


def _outcome(reply: Reply, verb: str) -> Outcome:
    if reply.ok:
        return Outcome.ACCEPTED
    if verb == "RCPT" and reply.code == 552 and reply.enhanced is None:
        return Outcome.DEFERRED  # it means too many recipients (RFC 5321 section 4.5.3.1.10)
    return Outcome.REFUSED if reply.permanent else Outcome.DEFERRED
