"""A client's main job: fetching messages, one at a time or many, with the next ones already on their way."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress

from mailproto._core.events import MessageChunk
from mailproto._core.flow import Flow
from mailproto.errors import RemoteProtocolError
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.command import Command, Shape
from mailproto.pop3.events import MessageEnd
from mailproto.pop3.flows.client import MessageListing, next_event, wait_done
from mailproto.pop3.response import ResponseError

_STATUS = re.compile(rb"(?:\+OK|-ERR)[ \r]")
_LONGEST_STATUS = 5


def begin_retrieve(conn: POP3ClientConnection, number: int, lines: int | None = None) -> Flow[None]:
    """Ask for message ``number``, or with ``lines`` for its header and so many lines; `next_chunk` reads it.

    Raises:
        ResponseError: the server does not give it.
    """
    yield from _begin(conn, conn.retr(number) if lines is None else conn.top(number, lines))


def next_chunk(conn: POP3ClientConnection) -> Flow[bytes | None]:
    """Return the next piece of the message that was begun, None behind the last.

    Raises:
        ConnectionClosedError: the connection ended in the middle of the message, which is not whole then.
    """
    while True:
        event = yield from next_event(conn)
        if isinstance(event, MessageChunk):
            return event.data
        if isinstance(event, MessageEnd):
            return None


def _begin(conn: POP3ClientConnection, command: Command[None]) -> Flow[None]:
    while command.response is None:
        yield from next_event(conn)
    if not command.response.ok:
        raise ResponseError(command.response, command.verb)


class _Order:
    """A message that was asked for, the LIST behind it, and what has come.

    The answer to LIST tells the number of the message (RFC 1939 section 5), which the one to RETR does not. So it
    proves whose the answer before it was. One stray line of the server's would else hand out every content behind it
    as that of the next message, and a caller who trusts it would have deleted what nobody has read.

    Args:
        lines: ask for its header and so many lines of its body; None for all of it.
        check: send LIST along. Where it costs a round trip it is left until there is a reason for it.
    """

    __slots__ = ("_beginning", "_check", "_conn", "_size", "message", "retr")

    def __init__(
        self, conn: POP3ClientConnection, message: MessageListing, lines: int | None, *, check: bool
    ) -> None:
        self.message = message
        self.retr = conn.retr(message.number) if lines is None else conn.top(message.number, lines)
        self._check = conn.list(message.number) if check else None
        self._conn = conn
        self._size = 0
        self._beginning = b""

    def take(self, chunk: bytes) -> None:
        """Take the measure of what has come."""
        self._size += len(chunk)
        if len(self._beginning) < _LONGEST_STATUS:
            self._beginning = (self._beginning + chunk)[:_LONGEST_STATUS]

    def withdraw(self) -> bool:
        """Take the order back, and return whether it had not left yet."""
        if not self._conn.withdraw(self.retr):
            return False
        if self._check is not None:
            self._conn.withdraw(self._check)
        return True

    def check(self) -> None:
        """Have LIST sent, if it was not yet: as long as the message is not marked as deleted, it is listed."""
        if self._check is None:
            self._check = self._conn.list(self.message.number)

    def prove(self, *, strictly: bool) -> Flow[bool | None]:
        """See, when all has come, that it was the answer to this order; None if there was no reason to doubt it.

        A server may have no such LIST. What was given is good all the same, unless it is to be proved ``strictly``,
        or begins with the response that should have been in front of it: that was taken for the response to another
        command.

        Raises:
            RemoteProtocolError: the server is out of step. The connection is over then.
        """
        size, proved = self.message.size, None
        if self._is_odd:
            self.check()
        if self._check is not None:
            response = yield from wait_done(self._conn, self._check)
            proved = response.ok and self._check.shape is Shape.LINE
            size = self._check.result if self._check.result is not None else size
        lacks_proof = strictly and proved is False and self.was_given
        if lacks_proof or (self._size != size and self._begins_with_a_response):
            self._conn.shut_down()
            raise RemoteProtocolError(f"the server is out of step at message {self.message.number}")
        return proved

    @property
    def _is_odd(self) -> bool:
        return not self.was_given or self._size != self.message.size

    @property
    def was_given(self) -> bool:
        """Whether the server gives the message."""
        return self.retr.response is not None and self.retr.response.ok

    @property
    def _begins_with_a_response(self) -> bool:
        return _STATUS.match(self._beginning) is not None


class Fetch:
    """Fetches many messages, in the order given, and keeps the line busy meanwhile.

    With PIPELINING some RETRs are sent ahead: up to ``window`` of them, more when half of them are answered, and as
    long as what they ask for stays below ``max_ahead`` octets, so that who stops early has not ordered a mountain.
    Deletions go between, and are waited for later. No other command may be used before `finish`.

    Before a message is at its end it is proved to be the one that was asked for, by a LIST behind its RETR. The first
    one comes alone: nothing is sent ahead to a server that cannot prove it. There, and without PIPELINING, only what
    looks odd is asked about. Where a server is out of step every method raises `RemoteProtocolError`, and so where
    one that could prove a message cannot prove another.

    Args:
        lines: fetch of each message its header and so many lines of its body; None for all of it.
    """

    def __init__(
        self,
        conn: POP3ClientConnection,
        messages: Iterable[MessageListing],
        *,
        lines: int | None = None,
        window: int = 16,
        max_ahead: int = 1 << 20,
    ) -> None:
        self._conn = conn
        self._messages: Iterator[MessageListing] = iter(messages)
        self._next: MessageListing | None = next(self._messages, None)
        self._lines = lines
        self._pipelining = conn.pipelining
        self._window = window
        self._can_prove: bool | None = None  # whether the server can, None as long as nobody knows
        self._max_ahead = max_ahead
        self._asked: deque[_Order] = deque()
        self._ahead = 0  # octets that were asked for
        self._reading: _Order | None = None
        self._begun: MessageListing | None = None  # what is read, as long as the caller has not heard of it
        self._deletions: deque[Command[None]] = deque()

    @property
    def current(self) -> MessageListing | None:
        """The message whose answer has begun or is due next: that at which it broke off, if it did."""
        return self._reading.message if self._reading is not None else None

    def next_message(self) -> Flow[MessageListing | None]:
        """Go on to the next message, past what is unread of the last one; None when there is none.

        Raises:
            ResponseError: the server does not give this message, and the next call goes on with the one behind it;
                or refused a deletion, and the next call goes on with this message.
        """
        if self._begun is None:
            yield from self._skip()
            self._ask()
            if not self._asked:
                yield from self.finish()
                return None
            order = self._asked.popleft()
            self._ahead -= order.message.size
            yield from self._begin(order)
            self._begun = order.message
        self._check_deletions()
        begun, self._begun = self._begun, None
        return begun

    def next_chunk(self) -> Flow[bytes | None]:
        """Return the next piece of the message, None behind the last."""
        order = self._reading
        if order is None:
            return None
        chunk = yield from next_chunk(self._conn)
        if chunk is None:
            yield from self._prove(order)
            self._reading = None
        else:
            order.take(chunk)
        return chunk

    def delete(self, number: int) -> None:
        """Mark message ``number`` as deleted. Whether the server did so shows at `next_message` or `finish`."""
        if self._reading is not None and self._reading.message.number == number:
            self._reading.check()
        self._deletions.append(self._conn.dele(number))

    def finish(self) -> Flow[None]:
        """Leave off: take back what was not asked yet, and read past what is on its way.

        Raises:
            ResponseError: the server refused a deletion.
        """
        self._next = self._begun = None
        left = [order for order in self._asked if not order.withdraw()]
        self._asked.clear()
        yield from self._skip()
        for order in left:
            with suppress(ResponseError):
                yield from self._begin(order)
            yield from self._skip()
        for command in self._deletions:
            yield from wait_done(self._conn, command)
        self._check_deletions()

    def _ask(self) -> None:
        window = self._window if self._pipelining and self._can_prove else 1
        if len(self._asked) > window // 2:  # to send each by itself costs more than all else that is done for it
            return
        check = self._pipelining and self._can_prove is not False
        while self._next is not None and len(self._asked) < window:
            if self._asked and self._ahead + self._next.size > self._max_ahead:
                return
            self._asked.append(_Order(self._conn, self._next, self._lines, check=check))
            self._ahead += self._next.size
            self._next = next(self._messages, None)

    def _begin(self, order: _Order) -> Flow[None]:
        self._reading = order
        try:
            yield from _begin(self._conn, order.retr)
        except ResponseError:
            yield from self._prove(order)
            self._reading = None
            raise

    def _prove(self, order: _Order) -> Flow[None]:
        proved = yield from order.prove(strictly=self._can_prove is True)
        if proved or (self._can_prove is None and order.was_given):
            self._can_prove = proved

    def _skip(self) -> Flow[None]:
        while (yield from self.next_chunk()) is not None:
            pass

    def _check_deletions(self) -> None:
        while self._deletions and self._deletions[0].response is not None:
            command = self._deletions.popleft()
            response = command.response
            if response is not None and not response.ok:
                raise ResponseError(response, command.verb)
