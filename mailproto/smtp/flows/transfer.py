"""How one message is carried: behind DATA, or in chunks (RFC 3030)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from mailproto._core.flow import Call, Flow, Want
from mailproto._core.newlines import Checked
from mailproto.errors import ConnectionClosedError, GrammarError, RemoteProtocolError, SourceError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.flows.client import wait_replies
from mailproto.smtp.flows.outcomes import Sending
from mailproto.smtp.messages.content import Content, checked_octets, reading_source
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.result import SendResult

_FLUSH_BEYOND = 64 << 10  # octets of output
_CHUNKS_AHEAD = 4  # chunks sent before the reply to the first of them is looked at
_NO_MORE = object()  # what an iterator at its end gives
_BREAKS = (ConnectionClosedError, RemoteProtocolError)  # behind which no more replies come


class Transfer(Sending, ABC):
    """A message on its way: its MAIL is queued."""

    _mail: Command
    _rset: Command | None = None  # what cleared the way for the next message
    _sent = 0  # octets of the message that were handed over
    _carried = False

    def __init__(self, conn: SMTPClientConnection, submission: Submission, content: Content, mail: Command) -> None:
        super().__init__(conn, submission)
        self._mail = mail
        self._size = content.size
        self._pieces = content.pieces

    def queue(self) -> None:
        """Queue the recipients, and what can leave together with them."""
        self._recipients = [self._conn.rcpt(*recipient) for recipient in self._submission.recipients]
        self._queue_more()

    @property
    def complete(self) -> bool:
        """Whether all of the message was queued, so that another one may be queued behind it."""
        return False

    @abstractmethod
    def _queue_more(self) -> None:
        """Queue what can leave together with the recipients."""

    @abstractmethod
    def _transfer(self) -> Flow[None]:
        """Send the message, all recipients being settled, if it is to be sent; or its rest."""

    def carry(self) -> Flow[None]:
        """Read the replies to what was queued, and send the rest of the message if it is to be sent; once."""
        if self._carried:
            return
        self._carried = True
        try:
            yield from wait_replies(self._conn, self._mail, *self._recipients)
            if not self._mail.refused:  # without a sender nobody is accepted, whatever the server says
                self._accepted = [each for each in self._recipients if each.reply is not None and not each.refused]
            try:
                yield from self._transfer()
            except (GrammarError, SourceError) as error:
                self._error = error
            if self._rset is None and self._conn.in_transaction and not self._conn.over:
                yield from self._reset()  # it comes to nothing, and the connection is to be fit for the next one
        except _BREAKS as error:
            self._error = error

    def finish(self) -> Flow[None]:
        """Read the server's final word, and the reply to the RSET behind it, if that was not done yet."""
        if isinstance(self._error, _BREAKS):  # no more replies come
            return
        try:
            yield from wait_replies(self._conn, *filter(None, (self._end, self._rset)))
        except _BREAKS as error:
            self._error = error

    def settle(self) -> Flow[SendResult]:
        """See it through to its end, and return what became of the message."""
        yield from self.carry()
        yield from self.finish()
        yield from self.clear()
        return self.result()

    def make_way(self) -> Flow[None]:
        """See to it that the next message does not end up in the transaction of this one."""
        yield from ()

    def clear(self) -> Flow[None]:
        """End the transaction that the server may still be in, although it has had its end here."""
        yield from ()

    def _reset(self) -> Flow[None]:
        self._rset = self._conn.rset()
        yield from wait_replies(self._conn, self._rset)

    def _report(self, octets: int) -> Flow[None]:
        """Tell the caller, if he wants to know, that so many more octets have left.

        Raises:
            SourceError: he failed to listen.
        """
        self._sent += octets
        if self._submission.progress is not None:
            try:
                yield Call(self._submission.progress, (self._sent, self._size))
            except Exception as error:
                raise SourceError(f"the progress could not be told: {type(error).__name__}: {error}") from error

    def _next_piece(self) -> Flow[bytes | Checked]:
        """Return the next piece of the message, ``b""`` behind the last.

        Raises:
            SourceError: there should be one, and could not be had.
        """
        if isinstance(self._pieces, Iterator):
            return next(self._pieces, b"")
        octets = b""
        with reading_source(self._conn):
            while not octets:  # which ends nothing: only the iterator's end does
                piece = yield Call(anext, (self._pieces, _NO_MORE))
                if piece is _NO_MORE:
                    break
                octets = checked_octets(piece)
        return octets


class DataTransfer(Transfer):
    """A message that goes with DATA: the server says first that it waits for it."""

    def _queue_more(self) -> None:
        self._carriers = [self._conn.data(canonicalise=self._submission.canonicalise)]

    def _transfer(self) -> Flow[None]:
        (data,) = self._carriers
        yield from wait_replies(self._conn, data)
        if data.reply is not None and data.reply.code // 100 == 3:
            try:
                yield from self._send()
            except (GrammarError, SourceError):
                if not self._conn.over:
                    self._conn.shut_down()  # for half a message can be neither ended nor taken back
                raise

    def _send(self) -> Flow[None]:
        conn = self._conn
        while (piece := (yield from self._next_piece())) and not conn.over:
            conn.send_data(piece)
            if conn.queued >= _FLUSH_BEYOND:
                yield Want.FLUSH
            yield from self._report(len(piece))
        if conn.closing:
            raise ConnectionClosedError("the server hung up during the message")
        self._end = conn.end_data()


class ChunkTransfer(Transfer):
    """A message that goes with BDAT. Its first octets, or all of it, leave together with MAIL and RCPT."""

    _begun = 0  # octets that were queued together with MAIL and RCPT
    _ahead: bytes | Checked = b""  # the next chunk: which one is the last shows only behind it

    @property
    def complete(self) -> bool:
        """Whether the last chunk was queued."""
        return self._end is not None

    def _queue_more(self) -> None:
        # In LMTP the recipients have to be settled first, and only octets in memory can be sent twice.
        if self._size is not None and not self._conn.config.lmtp and isinstance(self._pieces, Iterator):
            first = next(self._pieces, b"")
            self._ahead = next(self._pieces, b"")
            self._begun = len(first)
            self._queue_chunk(first, not self._ahead)

    def make_way(self) -> Flow[None]:
        """See to it that the next message does not end up in the transaction of this one.

        Behind a chunk that is refused it is not clear where the server stands, and RSET has to come before anything
        else (RFC 3030 section 2). While it is not known what becomes of the last chunk, RSET follows on its heels.
        """
        if self._rset is None and self._end is not None and self._end.reply is None and not self._conn.over:
            self._rset = self._conn.rset()
        else:
            yield from self.clear()

    def clear(self) -> Flow[None]:
        """End the transaction that the server may still be in behind a chunk that it refused (RFC 3030 section 2), or
        that was not sent, since nobody was to get it."""
        if self._rset is None and self._lacks_a_chunk() and not self._conn.over:
            with suppress(*_BREAKS):
                yield from self._reset()

    def _lacks_a_chunk(self) -> bool:
        begun = self._mail.reply is not None and self._mail.reply.ok
        return any(chunk.refused or (begun and chunk.skipped) for chunk in self._carriers)

    def _transfer(self) -> Flow[None]:
        if not self._accepted:
            yield from wait_replies(self._conn, *self._carriers)
            self._end = None
            return
        waiting = deque(self._carriers)
        yield from self._report(self._begun)
        while self._end is None:
            chunk = self._ahead or (yield from self._next_chunk())
            self._ahead = yield from self._next_chunk()
            if self._conn.over:
                yield from wait_replies(self._conn, *waiting)  # it may have said why
                raise ConnectionClosedError("the server hung up before the message was complete")
            waiting.append(self._queue_chunk(chunk, not self._ahead))
            yield Want.FLUSH
            yield from self._report(len(chunk))
            if len(waiting) > _CHUNKS_AHEAD:
                first = waiting.popleft()
                yield from wait_replies(self._conn, first)
                if first.refused or first.skipped:
                    return

    def _next_chunk(self) -> Flow[bytes | Checked]:
        """Return the next pieces of the message, enough of them for a chunk, ``b""`` behind the last."""
        pieces: list[bytes | Checked] = []
        size = 0
        while size < _FLUSH_BEYOND and (piece := (yield from self._next_piece())):
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(map(bytes, pieces))

    def _queue_chunk(self, data: bytes | Checked, last: bool) -> Command:
        chunk = self._conn.bdat(data, last=last, canonicalise=self._submission.canonicalise)
        self._carriers.append(chunk)
        if last:
            self._end = chunk
        return chunk
