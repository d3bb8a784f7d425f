"""Sending messages in as few round trips as the server allows, and sorting out what became of each recipient.

MAIL, all RCPTs and DATA leave in one flight, and the next message's MAIL right behind the end of the last message.
A message that goes in chunks (RFC 3030) does not even wait for a go-ahead, so several of them leave in one flight;
since it is not clear where a server stands behind a refused chunk, RSET comes between them (section 2). With a server
that does not pipeline the same commands leave one by one.
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
    SourceError,
)
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.content import Content, checked_octets, open_content, reading_source
from mailproto.smtp.extensions.checkpoint import RESUME
from mailproto.smtp.flows.client import wait_reply
from mailproto.smtp.flows.fitting import fit_parameters, suits_chunks, uses_utf8
from mailproto.smtp.flows.planning import Plan
from mailproto.smtp.message import Submission
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult
from mailproto.smtp.rules import ClientState

_FLUSH_BEYOND = 64 << 10  # octets of output
_CHUNKS_AHEAD = 4  # chunks sent before the reply to the first of them is looked at
_WINDOW = 16  # messages begun before it is known what became of the first of them
_NO_MORE = object()  # what an iterator at its end gives


def send_message(conn: SMTPClientConnection, submission: Submission) -> Flow[SendResult]:
    """Send one message and return what became of it, refusals and a broken connection included.

    Raises:
        NotSupportedError: the message needs what the server does not offer. Nothing was sent.
        GrammarError: the message has a bare CR or LF. Nothing was sent, if it was not a file or an iterable;
            otherwise, if it went with DATA, the connection had to be closed.
        Exception: what a file or an iterable raised that the message was read from; the same holds for it.
    """
    (result,) = yield from send_messages(conn, (submission,))
    if isinstance(result.error, NotSupportedError | GrammarError):
        raise result.error
    if isinstance(result.error, SourceError):
        raise result.error.__cause__ or result.error
    return result


def send_messages(conn: SMTPClientConnection, submissions: Iterable[Submission]) -> Flow[list[SendResult]]:
    """Send several messages over one connection, each begun before the reply to the last one is there.

    Returns:
        A result for each, in their order. What `send_message` raises is the ``error`` of its result here, or the
        cause of the `SourceError` that is. When the connection breaks, the messages behind are deferred; so are those
        that the server takes only on another connection, see `ConnectionExhaustedError`.
    """
    plans: list[Plan] = []
    sendings: list[_Sending] = []
    window: deque[_Sending] = deque()  # those whose outcome is not known yet
    previous: _Sending | None = None  # the last one that anything was said of
    for submission in _parts(conn, submissions, plans):
        if not conn.pipelines:  # what is queued now leaves no sooner, but perhaps too soon
            yield from _settle(window, 0)
        elif len(window) == _WINDOW:
            yield from _settle(window, _WINDOW // 2)
        sending = yield from _begin(conn, submission, previous)
        sendings.append(sending)
        window.append(sending)
        previous = previous if sending.mail is None else sending
        if not sending.complete:
            yield from _settle(window, 1)
            yield from sending.carry()
    yield from _settle(window, 0)
    if previous is not None:
        yield from previous.clear()
    results = (sending.result() for sending in sendings)
    return [plan.merge([next(results) for _ in plan.parts]) for plan in plans]


def _settle(window: deque[_Sending], left: int) -> Flow[None]:
    """Read what became of the messages in the window, the oldest first, until so many are left."""
    while len(window) > left:
        sending = window.popleft()
        yield from sending.carry()
        yield from sending.finish()


def _parts(conn: SMTPClientConnection, submissions: Iterable[Submission], plans: list[Plan]) -> Iterator[Submission]:
    """Yield what goes in a transaction each, and note the plan of every submission."""
    for submission in submissions:
        plan = Plan(conn, submission)
        plans.append(plan)
        yield from plan.parts


def _begin(conn: SMTPClientConnection, submission: Submission, previous: _Sending | None) -> Flow[_Sending]:
    """Check everything that can be checked before, and queue the first commands if nothing is wrong."""
    if conn.exhausted:
        exhausted = ConnectionExhaustedError("the server takes no more messages on this connection")
        return _Sending(conn, submission, Content(()), exhausted)
    if conn.over:
        return _Sending(conn, submission, Content(()), ConnectionClosedError("the connection is closed"))
    utf8 = uses_utf8(conn, submission)
    eight_bit = conn.uses("8BITMIME") and submission.parameters.body is not Body.SEVEN_BIT
    try:
        content = open_content(submission, eight_bit=eight_bit, utf8=utf8, idna_encode=conn.config.idna_encode)
        parameters = fit_parameters(conn, submission, content, utf8=utf8)
        if previous is not None:
            yield from previous.make_way()
            if conn.over:
                raise ConnectionClosedError("the connection is closed")
        mail = conn.mail(submission.reverse_path, parameters)
    except (NotSupportedError, GrammarError, SourceError, ConnectionClosedError) as error:
        return _Sending(conn, submission, Content(()), error)
    kind = _ChunkSending if suits_chunks(conn, parameters) else _DataSending
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
        self._carried = False
        self._rset: Command | None = None  # what cleared the way for the next message
        self._end: Command | None = None  # what the server's final word is the reply to

    def queue_more(self) -> None:
        """Queue what can leave together with MAIL and RCPT."""

    @property
    def complete(self) -> bool:
        """Whether all of the message was queued, so that another one may be queued behind it."""
        return self.mail is None

    def carry(self) -> Flow[None]:
        """Read the replies to what was queued, and send the rest of the message if it is to be sent; once."""
        if self.mail is None or self._carried:
            return
        self._carried = True
        try:
            # The last one first: when its reply is there, so are most of the others.
            for command in (*self.recipients[-1:], self.mail, *self.recipients):
                if command.reply is None:
                    yield from wait_reply(self._conn, command)
            if (yield from self._may_go_on()):
                yield from self._transfer_or_give_up()
            else:
                yield from self._take_back()
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error

    def _transfer_or_give_up(self) -> Flow[None]:
        """Send the message. If it turns out that it cannot be, chunks are taken back, and DATA is cut off."""
        try:
            yield from self._transfer()
        except (GrammarError, SourceError) as error:
            self._error = error
            yield from self._take_back()

    def finish(self) -> Flow[None]:
        """Read the server's final word, and the reply to the RSET behind it, if that was not done yet."""
        try:
            for command in (self._end, self._rset):
                if command is not None and command.reply is None and self._error is None:
                    yield from wait_reply(self._conn, command)
        except (ConnectionClosedError, RemoteProtocolError) as error:
            self._error = error

    def make_way(self) -> Flow[None]:
        """See to it that the next message does not end up in the transaction of this one.

        Behind a chunk that is refused it is not clear where the server stands, and RSET has to come before anything
        else (RFC 3030 section 2). While it is not known what becomes of the last chunk, RSET follows on its heels.
        """
        end = self._end
        if end is not None and end.verb == "BDAT" and end.reply is None and not self._conn.over:
            self._rset = self._conn.rset()
        else:
            yield from self.clear()

    def clear(self) -> Flow[None]:
        """End the transaction that the server may still be in behind a chunk that it refused (RFC 3030 section 2), or
        that was not sent, since nobody was to get it."""
        if self._rset is None and self._chunk_is_missing and not self._conn.over:
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
        if self._rset is None and self._conn.in_transaction and not self._conn.over:
            yield from self._reset()

    def _reset(self) -> Flow[None]:
        self._rset = self._conn.rset()
        yield from wait_reply(self._conn, self._rset)

    def _report(self, octets: int) -> Flow[None]:
        """Tell the caller, if he wants to know, that so many more octets have left."""
        self._sent += octets
        if self._submission.progress is not None:
            yield Call(self._submission.progress, (self._sent, self._size))

    def _next_piece(self) -> Flow[bytes]:
        """Return the next piece of the message, ``b""`` behind the last.

        Raises:
            SourceError: there should be one, and could not be had.
        """
        octets = b""
        with reading_source():
            while not octets:  # which ends nothing: only the iterator's end does
                if isinstance(self._iterator, AsyncIterator):
                    piece = yield Call(anext, (self._iterator, _NO_MORE))
                else:
                    piece = next(self._iterator, _NO_MORE)
                if piece is _NO_MORE:
                    break
                octets = checked_octets(piece)
        return octets

    @property
    def _chunk_is_missing(self) -> bool:
        begun = self.mail is not None and self.mail.reply is not None and self.mail.reply.ok
        chunks = [command for command in self._carriers if command.verb == "BDAT"]
        return any(not chunk.reply.ok if chunk.reply else begun and chunk.skipped for chunk in chunks)

    @property
    def _accepted(self) -> list[int]:
        """The indices of the recipients that the server has accepted: without a sender none, whatever it says."""
        if self.mail is None or self.mail.reply is None or not self.mail.reply.ok:
            return []
        return [i for i, command in enumerate(self.recipients) if command.reply is not None and command.reply.ok]

    def _final_words(self) -> dict[int, Reply]:
        """Return the replies to the message itself, by the index of the recipient that each is for."""
        if self._end is None:
            return {}
        accepted, overall = self._accepted, self._end.reply
        if self._conn.config.lmtp:
            return dict(zip(accepted, self._end.replies, strict=False))
        if overall is None:
            return {}
        words = dict.fromkeys(accepted, overall)
        each = self._end.replies[:-1]
        for index, own in zip(accepted, each, strict=False):
            if overall.ok or not own.ok:
                words[index] = own
            elif len(each) < len(accepted):  # a farewell is no word for all, without which nobody knows
                del words[index]
        return words

    def _recipient(self, address: Address, command: Command | None, final: Reply | None) -> RecipientResult:
        own = command.reply if command is not None else None
        for decider in (self.mail, command, *self._carriers):
            reply = decider.reply if decider is not None and decider is not self._end else None
            if decider is not None and reply is not None and (not reply.ok or reply.code == RESUME):
                return RecipientResult(address, _outcome(reply, decider.verb), decider.verb, reply, own)
        if isinstance(self._error, NotSupportedError | GrammarError):
            return RecipientResult(address, Outcome.REFUSED, "message", None, own)
        if isinstance(self._error, SourceError):
            return RecipientResult(address, Outcome.DEFERRED, "message", None, own)
        if self._end is None or (final is None and not self._end.sent):
            full = self._error if isinstance(self._error, ConnectionExhaustedError) else None
            return RecipientResult(address, Outcome.DEFERRED, "connection", None, own, full)
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
        while (piece := (yield from self._next_piece())) and not conn.over:
            conn.send_data(piece)
            if conn.queued >= _FLUSH_BEYOND:
                yield Want.FLUSH
            yield from self._report(len(piece))
        if conn.closing:
            raise ConnectionClosedError("the server hung up during the message")
        self._end = conn.end_data()

    def _take_back(self) -> Flow[None]:
        if self._conn.state is ClientState.DATA and not self._conn.over:
            self._conn.shut_down()  # for half a message can be neither ended nor taken back
        yield from super()._take_back()


class _ChunkSending(_Sending):
    """A message that goes with BDAT. Its first octets, or all of it, leave together with MAIL and RCPT."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._begun = 0  # octets that were queued together with MAIL and RCPT
        self._ahead = b""  # the next chunk: which one is the last shows only behind it

    @property
    def complete(self) -> bool:
        return self._end is not None

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
            if self._conn.over:
                for command in waiting:  # it may have said why
                    yield from wait_reply(self._conn, command)
                raise ConnectionClosedError("the server hung up before the message was complete")
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
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _queue_chunk(self, data: bytes, last: bool) -> Command:
        chunk = self._conn.bdat(data, last=last, canonicalise=self._submission.canonicalise)
        self._carriers.append(chunk)
        if last:
            self._end = chunk
        return chunk


def _iterator(pieces: Iterable[bytes] | AsyncIterable[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    return aiter(pieces) if isinstance(pieces, AsyncIterable) else iter(pieces)


def _outcome(reply: Reply, verb: str) -> Outcome:
    if reply.code == RESUME:
        return Outcome.DEFERRED  # the interrupted transaction was taken back, and the next one begins anew
    if reply.ok:
        return Outcome.ACCEPTED
    if verb == "RCPT" and reply.code == 552 and reply.enhanced is None:
        return Outcome.DEFERRED  # it means too many recipients (RFC 5321 section 4.5.3.1.10)
    return Outcome.REFUSED if reply.permanent else Outcome.DEFERRED
