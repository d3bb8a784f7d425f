"""The base of the four connections: input, output, the end of input, failure, and the TLS gate.

A connection is pulled: `Connection.receive_data` only keeps bytes, `Connection.next_event` parses one event and
moves the state with it, `Connection.data_to_send` is the only tap. It is not safe for use by two threads at once.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Literal, NoReturn, TypeAlias, TypeVar

from mailproto._core.buffer import ReceiveBuffer
from mailproto._core.checks import check_kind
from mailproto._core.events import ConnectionClosed, MessageChunk, TLSInfo
from mailproto._core.limits import Limits
from mailproto.errors import LocalProtocolError

EventT = TypeVar("EventT")

Trace: TypeAlias = Callable[[str, bytes], None]
"""Called with ``"C"`` or ``"S"``, who speaks, and the line without its CRLF, secrets taken out."""


class Step(enum.Enum):
    """What a mode did, when it did not make an event."""

    AGAIN = enum.auto()  # it consumed something: look again
    STARVED = enum.auto()  # it can do nothing before more input comes


# By these names, because up to Python 3.11 an attribute of an enum's class costs as much as a call.
AGAIN: Final = Step.AGAIN
STARVED: Final = Step.STARVED


class Connection(ABC, Generic[EventT]):
    """What SMTP and POP3, client and server, have in common.

    Attributes:
        closing: whether it has come to its end here: send what `data_to_send` still holds, then close it.
        limits: the bounds it keeps.
        over: whether nothing more can be said: the connection is closing, or the peer has left.
        tls: the TLS session, or None in clear.
        pending: on a server, the event that still wants its answer.
        trailing_data: what came ahead, behind a PROXY header say, and belongs to the TLS handshake that comes next.
        trace: when set, is called for every line both sides send, secrets taken out.
    """

    _speaker: Literal["C", "S"]  # who we are, in a trace
    _other: Literal["C", "S"]

    __slots__ = (
        "__weakref__",
        "_block",
        "_block_size",
        "_buffer",
        "_ended",
        "_eof",
        "_events",
        "_failure",
        "_farewell",
        "_gate",
        "_max_unsent",
        "_mode",
        "_output",
        "_progress",
        "_queued",
        "closing",
        "limits",
        "over",
        "pending",
        "tls",
        "trace",
        "trailing_data",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._max_unsent = limits.max_unsent
        self._block_size = limits.min_data_rate * limits.data_timeout
        self.tls: TLSInfo | None = None
        self._progress = 0
        self.trace: Trace | None = None
        self.trailing_data = b""
        self._buffer = ReceiveBuffer()
        self._output: list[bytes] = []
        self._queued = 0
        self._events: deque[EventT] = deque()
        self.pending: EventT | None = None
        self._mode: Callable[[], EventT | ConnectionClosed | Step] = self._read
        self._gate = False
        self._eof = False
        self.closing = self.over = False  # kept, though it follows: it is asked more often than anything else
        self._farewell = ""  # why the connection is closing, if not because both sides are through
        self._ended = False
        self._failure: str | None = None
        self._block = 0

    def __repr__(self) -> str:
        state: enum.Enum | None = getattr(self, "state", None)  # what opens a tunnel has none
        return f"<{type(self).__name__}{f' in {state.name}' if state is not None else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection is one end of a conversation, with its secrets: it cannot be pickled or copied")

    # What a subclass says for itself.

    @abstractmethod
    def _read(self) -> EventT | ConnectionClosed | Step:
        """Parse one thing from the buffer: the mode in which the connection begins."""

    @abstractmethod
    def _at_rest(self) -> bool:
        """Say whether the peer may leave now without anything being cut short."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget what was learnt in clear, now that TLS is established."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing is under way. A client's flow that ends with this false leaves a connection that is out
        of step, and that an adapter has to close."""

    @property
    @abstractmethod
    def timeout(self) -> float:
        """Seconds that the wait for input, or for the peer to take output, may last."""

    @property
    def progress(self) -> int:
        """What grows with every event, and during a message with every block of it.

        A wait for input may last `timeout` seconds for each unit of it, which makes a deadline and a minimum data
        rate of one number without a clock in here.
        """
        return self._progress

    @abstractmethod
    def receive_timeout(self) -> None:
        """Learn that a wait took longer than `timeout`: the connection ends."""

    @abstractmethod
    def shut_down(self) -> None:
        """End the connection as soon as nothing is cut short by it."""

    # Input.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the peer, cut anywhere; ``b""`` means the end of input, as ``recv`` returns it.

        Only keeps them. Never raises for what the peer sent.

        Raises:
            TypeError: it is something else, such as text, or the None of a socket that has nothing at the moment.
        """
        if type(data) is not bytes:
            check_kind("data", data, bytes | bytearray | memoryview)
            data = bytes(data)
        if not data:
            self.receive_eof()
        elif self._gate:
            self._fail("the peer sent data between STARTTLS and the handshake")
        elif not self.over:
            self._buffer.append(data)

    def receive_eof(self) -> None:
        """Learn that the peer has closed its side. May be called more than once."""
        self._eof = self.over = True

    def take_rest(self) -> bytes:
        """Return what came and was not parsed, and forget it: for whatever takes this connection's place."""
        return self._buffer.take(len(self._buffer))

    def next_event(self) -> EventT | ConnectionClosed | None:
        """Parse one event and move the state with it. None: nothing more before more input (or output) flows.

        Raises:
            LocalProtocolError: the `pending` event has not been answered.
            RemoteProtocolError: on a client, the server broke the protocol; the connection has failed for good.
        """
        if self.pending is not None:
            raise LocalProtocolError(f"{type(self.pending).__name__} has to be answered first")
        while True:
            if self._events or self.closing:
                step = self._next_of_other_kind()
            elif self._queued > self._max_unsent:
                return None  # the peer does not take what was said
            else:
                mode = self._mode  # in `self._mode()` it would be looked for as a method first, which takes longer
                step = mode()
            if step is AGAIN:
                continue
            if step is STARVED:
                if not self._eof or self._ended:
                    return None
                if not (self._events or self.closing):  # what came is of no more use
                    self._close("" if self._at_rest() else "the peer closed the connection")
                continue
            if type(step) is not MessageChunk:
                self._progress += 1
            return step

    def _next_of_other_kind(self) -> EventT | ConnectionClosed | Step:
        """Take a step that needs no input."""
        if self._events:
            return self._events.popleft()
        if self._failure is not None:
            return self._report_failure(self._failure)
        return self._end(not self._farewell, self._farewell)

    def _end(self, clean: bool, reason: str = "") -> ConnectionClosed | Step:
        """Report the end of the connection, once."""
        self._buffer.clear()
        if self._ended:
            return STARVED
        self._ended = True
        return ConnectionClosed(clean, "" if clean else reason)

    # Output.

    def data_to_send(self) -> bytes:
        """Return what may go on the wire now, ``b""`` if nothing, and forget it.

        Commands of a client that have to wait for a reply stay. Where what this returns does not leave, `lose_output`
        has to be told.
        """
        self._before_output()
        output = self._output
        if not output:
            return b""
        self._output, self._queued = [], 0
        return output[0] if len(output) == 1 else b"".join(output)

    def _before_output(self) -> None:
        """Learn that the output is about to be taken."""

    @property
    def queued(self) -> int:
        """Octets that wait in `data_to_send`, as far as they are known."""
        return self._queued

    @property
    def output_full(self) -> bool:
        """Whether `next_event` returns None only because too much output waits to be sent."""
        return self._queued > self._max_unsent and not self.closing

    def lose_output(self, *, partly: bool = False) -> None:
        """Learn that nothing can be sent any more: for whoever carries the octets to tell, and more than once.

        Args:
            partly: what `data_to_send` returned last, if anything, has certainly not left to its end.
        """

    def _send(self, data: bytes) -> None:
        self._output.append(data)
        self._queued += len(data)

    # The end.

    def _close(self, reason: str = "") -> None:
        """Close once the output is sent; ``reason`` unless both sides are through."""
        self.closing = self.over = True
        self._farewell = reason

    def _fail(self, reason: str) -> None:
        """End the connection at once: nothing more is read, and nothing more is thought of to say."""
        self._failure = reason
        self.closing = self.over = True
        self._gate = False
        self.pending = None
        self._events.clear()
        self._buffer.clear()
        self._fall_silent()

    def _fall_silent(self) -> None:
        """Forget what waits to be sent, now that the connection has failed."""
        self._output.clear()
        self._queued = 0

    def _report_failure(self, reason: str) -> EventT | ConnectionClosed | Step:
        return self._end(False, reason)

    # TLS.

    def _close_gate(self) -> None:
        """Let nothing pass before the handshake; what came too early is an attack (RFC 3207 section 6)."""
        if self._buffer:
            self._fail("the peer sent data behind STARTTLS, in clear")
        else:
            self._gate = True

    def tls_established(self, info: TLSInfo | None = None) -> None:
        """Learn that the TLS handshake is done: behind `StartTLS`, or at the very beginning for implicit TLS.

        All that was learnt in clear is forgotten (RFC 3207 section 4.2, RFC 2595 section 4).

        Raises:
            LocalProtocolError: no handshake was due.
        """
        if self._failure is not None or self._eof:
            return  # the connection ended meanwhile, and will say so
        if not self._gate and (self._progress or self.tls is not None):
            raise LocalProtocolError("no TLS handshake is due")
        if self._buffer:
            self._fail("the peer sent data before the TLS handshake, in clear")
            return
        self._gate = False
        self.tls = info if info is not None else TLSInfo()
        self._forget()

    # Help for subclasses.

    def _count_chunk(self, size: int) -> None:
        """Count octets of a message towards `progress`: one unit for each that the minimum rate wants."""
        self._block += size
        if self._block >= self._block_size:
            self._block = 0
            self._progress += 1
