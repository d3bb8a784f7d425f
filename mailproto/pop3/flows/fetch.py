"""A client's main job: fetching messages, one at a time or many, with the next ones already on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from mailproto._core.events import MessageChunk
from mailproto._core.flow import Flow
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.command import Command
from mailproto.pop3.events import MessageEnd
from mailproto.pop3.flows.client import MessageListing, next_event
from mailproto.pop3.response import ResponseError


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


class Fetch:
    """Fetches many messages, in the order given, and keeps the line busy meanwhile.

    With PIPELINING some RETRs are sent ahead: up to ``window`` of them, and as long as what they ask for stays
    below ``max_ahead`` octets, so that who stops early has not ordered a mountain. Deletions go between, and
    are waited for later. No other command may be used before `finish`.
    """

    def __init__(
        self,
        conn: POP3ClientConnection,
        messages: Iterable[MessageListing],
        *,
        window: int = 16,
        max_ahead: int = 1 << 20,
    ) -> None:
        self._conn = conn
        self._messages: Iterator[MessageListing] = iter(messages)
        self._next: MessageListing | None = next(self._messages, None)
        self._window = window if conn.pipelining else 1
        self._max_ahead = max_ahead
        self._asked: deque[tuple[MessageListing, Command[None]]] = deque()
        self._ahead = 0  # octets that were asked for
        self._reading: Command[None] | None = None
        self._begun: MessageListing | None = None  # what is read, as long as the caller has not heard of it
        self._deletions: deque[Command[None]] = deque()

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
            message, command = self._asked.popleft()
            self._ahead -= message.size
            yield from _begin(self._conn, command)
            self._reading, self._begun = command, message
        self._check_deletions()
        begun, self._begun = self._begun, None
        return begun

    def next_chunk(self) -> Flow[bytes | None]:
        """Return the next piece of the message, None behind the last."""
        if self._reading is None:
            return None
        chunk = yield from next_chunk(self._conn)
        if chunk is None:
            self._reading = None
        return chunk

    def delete(self, number: int) -> None:
        """Mark message ``number`` as deleted. Whether the server did so shows at `next_message` or `finish`."""
        self._deletions.append(self._conn.dele(number))

    def finish(self) -> Flow[None]:
        """Leave off: take back what was not asked yet, and read past what is on its way.

        Raises:
            ResponseError: the server refused a deletion.
        """
        self._next = self._begun = None
        withdrawn = [command for _, command in self._asked if self._conn.withdraw(command)]
        yield from self._skip()
        for _, command in self._asked:
            if command not in withdrawn:
                yield from self._drain(command)
        self._asked.clear()
        for command in self._deletions:
            yield from self._drain(command)
        self._check_deletions()

    def _ask(self) -> None:
        while self._next is not None and len(self._asked) < self._window:
            if self._asked and self._ahead + self._next.size > self._max_ahead:
                return
            self._asked.append((self._next, self._conn.retr(self._next.number)))
            self._ahead += self._next.size
            self._next = next(self._messages, None)

    def _skip(self) -> Flow[None]:
        if self._reading is not None:
            yield from self._drain(self._reading)
            self._reading = None

    def _drain(self, command: Command[None]) -> Flow[None]:
        while not command.done:
            yield from next_event(self._conn)

    def _check_deletions(self) -> None:
        while self._deletions and self._deletions[0].response is not None:
            command = self._deletions.popleft()
            response = command.response
            if response is not None and not response.ok:
                raise ResponseError(response, command.verb)
