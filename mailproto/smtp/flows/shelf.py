"""What a pool of connections decides, without a clock and without I/O: which to take, which to keep, when to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mailproto._core.checks import check_fields
from mailproto.errors import GrammarError

ClientT = TypeVar("ClientT")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How a pool deals with its connections. All times are in seconds.

    Args:
        max_connections: connections at a time; who wants one more waits.
        max_messages: messages over one connection; then another is opened. Servers that have a limit say 421 beyond
            it.
        max_idle: how long a connection is kept that nobody uses. Servers hang up after five minutes and sooner.
        messages_per_second: how fast messages are begun, over all connections. None: as fast as they come.

    Raises:
        GrammarError: no message would ever leave.
    """

    max_connections: int = 5
    max_messages: int = 100
    max_idle: float = 60.0
    messages_per_second: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_connections < 1:
            raise GrammarError("no mail goes anywhere without a connection")
        if self.messages_per_second is not None and not self.messages_per_second > 0:
            raise GrammarError(f"not a number of messages a second: {self.messages_per_second}")


@dataclass(slots=True)
class Lent(Generic[ClientT]):
    """A connection in use."""

    client: ClientT
    messages: int = 0
    idle_since: float = 0.0


class Shelf(Generic[ClientT]):
    """The connections of a pool that nobody uses at the moment."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._idle: deque[Lent[ClientT]] = deque()
        self._next_start = 0.0
        self._closed = False

    def take(self) -> Lent[ClientT] | None:
        """Return the connection that was used last, which is the least likely to be stale; None if there is none."""
        return self._idle.pop() if self._idle else None

    def put(self, lent: Lent[ClientT], now: float) -> bool:
        """Keep a connection for the next message; return False if it is to be closed: it has had its share, or was in
        use when all others were closed, and nobody would come back for it."""
        lent.messages += 1
        lent.idle_since = now
        if self._closed or lent.messages >= self._options.max_messages:
            return False
        self._idle.append(lent)
        return True

    def take_expired(self, now: float) -> Iterator[ClientT]:
        """Take, one by one, the connections that were idle for too long, which are to be closed."""
        while self._idle and now - self._idle[0].idle_since >= self._options.max_idle:
            yield self._idle.popleft().client

    def take_all(self) -> Iterator[ClientT]:
        """Take, one by one, all connections, which are to be closed; from now on none is kept."""
        self._closed = True
        while self._idle:
            yield self._idle.popleft().client

    def reserve(self, now: float) -> float:
        """Reserve the start of a message; return how many seconds it has to wait for the rate."""
        if self._options.messages_per_second is None:
            return 0.0
        start = max(now, self._next_start)
        self._next_start = start + 1 / self._options.messages_per_second
        return start - now
