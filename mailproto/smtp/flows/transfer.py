"""How one message is carried: behind DATA, or in chunks (RFC 3030)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any

from mailproto._core.flow import Call, Flow, Want
from mailproto.errors import ConnectionClosedError, GrammarError, RemoteProtocolError, SourceError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.content import Content, checked_octets, reading_source
from mailproto.smtp.flows.client import wait_reply
from mailproto.smtp.flows.outcomes import Sending
from mailproto.smtp.message import Submission
from mailproto.smtp.rules import ClientState

_FLUSH_BEYOND = 64 << 10  # octets of output
_CHUNKS_AHEAD = 4  # chunks sent before the reply to the first of them is looked at
_NO_MORE = object()  # what an iterator at its end gives


class Transfer(Sending, ABC):
    """A message on its way: its MAIL is queued."""

    def __init__(self, conn: SMTPClientConnection, submission: Submission, content: Content, mail: Command) -> None:
        super().__init__(conn, submission)
        self._mail = mail
        self._size = content.size
        self._iterator = _iterator(content.pieces)
        self._sent = 0  # octets of the message that were handed over
        self._carried = False
        self._rset: Command | None = None  # what cleared the way for the next message

    def queue(self) -> None:
        """Queue the recipients, and what can leave together with them."""
        self._recipients = [self._conn.rcpt(*recipient) for recipient in self._submission.recipients]
        self._queue_more()

    @property
    def complete(self) -> bool:
        """Whether all of the message was queued: never, where the server first says that it waits for it."""
        return False

    @abstractmethod
    def _queue_more(self) -> None:
        """Queue what can leave together with the recipients."""

    @abstractmethod
    def _may_go_on(self) -> Flow[bool]:
        """Say, all recipients being settled, whether the message is to be transferred."""

    @abstractmethod
    def _transfer(self) -> Flow[None]:
        """Send the message."""

    def carry(self) -> Flow[None]:
        """Read the replies to what was queued, and send the rest of the message if it is to be sent; once."""
        if self._carried:
            return
        self._carried = True
        try:
            # The last one first: when its reply is there, so are most of the others.
            for command in (*self._recipients[-1:], self._mail, *self._recipients):
                if command is not None and command.reply is None:
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
                if command is not None and command.reply is None and not self._broken:
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

    def _take_back(self) -> Flow[None]:
        """End the transaction that comes to nothing, so that the connection is fit for the next one."""
        if self._rset is None and self._conn.in_transaction and not self._conn.over:
            yield from self._reset()

    def _reset(self) -> Flow[None]:
        self._rset = self._conn.rset()
        yield from wait_reply(self._conn, self._rset)

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
    def _broken(self) -> bool:
        """Whether the connection is, so that no more replies come."""
        return isinstance(self._error, ConnectionClosedError | RemoteProtocolError)

    @property
    def _chunk_is_missing(self) -> bool:
        begun = self._mail is not None and self._mail.reply is not None and self._mail.reply.ok
        chunks = [command for command in self._carriers if command.verb == "BDAT"]
        return any(not chunk.reply.ok if chunk.reply else begun and chunk.skipped for chunk in chunks)


class DataTransfer(Transfer):
    """A message that goes with DATA: the server says first that it waits for it."""

    def _queue_more(self) -> None:
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


class ChunkTransfer(Transfer):
    """A message that goes with BDAT. Its first octets, or all of it, leave together with MAIL and RCPT."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._begun = 0  # octets that were queued together with MAIL and RCPT
        self._ahead = b""  # the next chunk: which one is the last shows only behind it

    @property
    def complete(self) -> bool:
        """Whether the last chunk was queued."""
        return self._end is not None

    def _queue_more(self) -> None:
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
