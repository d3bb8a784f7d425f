"""A protocol of five lines, on the same base as SMTP and POP3: what drives it cannot know either of them.

The server greets. ``TLS`` asks for a handshake, ``PUT n`` announces n octets, ``BYE`` ends; any other line is put
to the application. Every answer is one line, ``+text`` or ``-text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mailproto._core.codec import parse_uint
from mailproto._core.connection import Connection, Step
from mailproto._core.events import ConnectionClosed, MessageChunk, StartTLS
from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto._core.limits import Limits
from mailproto._core.server import ServerConnection
from mailproto._flows.hooks import answer, call_hook
from mailproto._flows.reading import read_event
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError, Reject

_MAX_LINE = 100_000


@dataclass(slots=True)
class Greeting:
    """A client is there; asks."""


@dataclass(slots=True)
class Line:
    """A line came; asks."""

    text: str


@dataclass(slots=True)
class Stored:
    """All octets of a PUT came; asks."""

    size: int


@dataclass(slots=True)
class Said:
    """The server's answer, on the client."""

    text: str


ServerEvent: TypeAlias = Greeting | Line | Stored | StartTLS | MessageChunk | ConnectionClosed
ClientEvent: TypeAlias = Said | StartTLS | ConnectionClosed


class ToyServer(ServerConnection[ServerEvent]):
    """The server's side."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self.lines: list[str] = []
        self._left = 0
        self._size = 0
        self._draining = False

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        return ()

    def challenge(self, data: bytes, *, refused: bool = False) -> None:
        raise LocalProtocolError("nobody logs in here")

    @property
    def idle(self) -> bool:
        return self.pending is None and not self._left

    @property
    def timeout(self) -> float:
        return self.limits.data_timeout if self._left else self.limits.command_timeout

    def receive_timeout(self) -> None:
        self._say("-too slow")
        self._close()

    def shut_down(self) -> None:
        self._draining = True
        if self.pending is None and not self._left:
            self._say("-shutting down")
            self._close()

    def accept(self, text: str | None = None) -> None:
        event = self._take_pending()
        if isinstance(event, StartTLS):
            self._close_gate()
            if self._failure is not None:
                return
        self._say(f"+{text or 'ok'}")
        if self._draining and isinstance(event, Stored):
            self.shut_down()

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        self._take_pending()
        self._say(f"-{text or 'no'}")

    def answer_default(self) -> None:
        if isinstance(self.pending, Stored):
            self.reject()
        else:
            self.accept()

    def _say(self, text: str) -> None:
        self._send(text.encode() + b"\r\n")

    def _at_rest(self) -> bool:
        return not self._left and not len(self._buffer)

    def _forget(self) -> None:
        self.lines.clear()

    def _read(self) -> ServerEvent | Step:
        self._mode = self._read_line
        return self._ask(Greeting())

    def _read_line(self) -> ServerEvent | Step:
        line = self._buffer.take_line(_MAX_LINE)
        if line is None:
            return Step.STARVED
        if line == b"TLS":
            return self._ask(StartTLS())
        if line == b"BYE":
            self._say("+bye")
            self._close()
            return Step.AGAIN
        if line.startswith(b"PUT "):
            self._left = self._size = parse_uint(line[4:])
            self._mode = self._read_octets
            return Step.AGAIN
        self.lines.append(line.decode())
        return self._ask(Line(self.lines[-1]))

    def _read_octets(self) -> ServerEvent | Step:
        if not self._left:
            self._mode = self._read_line
            return self._ask(Stored(self._size))
        data = self._buffer.take(self._left)
        if not data:
            return Step.STARVED
        self._left -= len(data)
        self._count_chunk(len(data))
        return MessageChunk(data)


class ToyClient(Connection[ClientEvent]):
    """The client's side; the answers come in the order of the lines."""

    _speaker = "C"
    _other = "S"

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self.owed = 0
        self._shaking = False

    @property
    def timeout(self) -> float:
        return self.limits.command_timeout

    def receive_timeout(self) -> None:
        self._fail("timed out")

    def shut_down(self) -> None:
        self.say("BYE")

    @property
    def idle(self) -> bool:
        return not self.owed and not self.closing

    def say(self, text: str) -> None:
        if self.closing or self._eof:
            raise LocalProtocolError("the connection is closed")
        self.owed += 1
        self._shaking = text == "TLS"
        self._send(text.encode() + b"\r\n")

    def send_octets(self, data: bytes) -> None:
        self._send(data)

    def _at_rest(self) -> bool:
        return not self.owed

    def _forget(self) -> None:
        pass

    def _read(self) -> ClientEvent | Step:
        line = self._buffer.take_line(_MAX_LINE)
        if line is None:
            return Step.STARVED
        text = line.decode()
        self.owed -= 1
        if text == "+bye":
            self._close()
            self._events.append(Said(text))
        elif self._shaking and text.startswith("+"):
            self._shaking = False
            self._close_gate()
            if self._failure is None:
                self._events += [StartTLS(), Said(text)]
        else:
            return Said(text)
        return Step.AGAIN


# The client's flows.


def ask(conn: ToyClient, *texts: str) -> Flow[list[str]]:
    """Send all the lines at once and return the answers."""
    for text in texts:
        conn.say(text)
    answers: list[str] = []
    while len(answers) < len(texts):
        event = yield from read_event(conn)
        if isinstance(event, Said):
            answers.append(event.text)
        elif isinstance(event, ConnectionClosed):
            kind = ConnectionTimeoutError if event.reason == "timed out" else ConnectionClosedError
            raise kind(event.reason or "closed", " ".join(answers))
    return answers


def greet(conn: ToyClient, *, tls: bool = False) -> Flow[str]:
    """Wait for the greeting, behind a handshake if ``tls``."""
    if tls:
        yield Want.START_TLS
    conn.owed = 1
    event = yield from read_event(conn)
    if isinstance(event, Said):
        return event.text
    raise ConnectionClosedError("no greeting")


def start_tls(conn: ToyClient) -> Flow[None]:
    """Go on under TLS."""
    yield from ask(conn, "TLS")
    yield from ask(conn, "under TLS")


def put(conn: ToyClient, size: int, pieces: Iterable[bytes]) -> Flow[str]:
    """Send ``size`` octets and return the answer."""
    conn.say(f"PUT {size}")
    for piece in pieces:
        conn.send_octets(piece)
        if conn.queued > 64 << 10:
            yield Want.FLUSH
    (answered,) = yield from ask_nothing(conn, 1)
    return answered


def put_called(conn: ToyClient, size: int, source: Callable[[], Any]) -> Flow[str]:
    """Send ``size`` octets, in pieces that the caller's code is called for until it returns none."""
    conn.say(f"PUT {size}")
    while piece := (yield Call(source)):
        conn.send_octets(piece)
    (answered,) = yield from ask_nothing(conn, 1)
    return answered


def ask_nothing(conn: ToyClient, count: int) -> Flow[list[str]]:
    """Return the next ``count`` answers."""
    answers: list[str] = []
    while len(answers) < count:
        event = yield from read_event(conn)
        if isinstance(event, Said):
            answers.append(event.text)
        elif isinstance(event, ConnectionClosed):
            raise ConnectionClosedError(event.reason or "closed", " ".join(answers))
    return answers


def nap(seconds: float) -> Flow[str]:
    """Sleep."""
    yield Sleep(seconds)
    return "rested"


# The server's flow.


def serve(conn: ToyServer, handler: Any, *, tls: bool = False) -> Flow[None]:
    """Carry each event to the handler's method of that name, and what it returns back as the answer."""
    try:
        if tls:
            yield Want.START_TLS
        while True:
            event = yield from read_event(conn)
            if isinstance(event, ConnectionClosed):
                return
            hook = getattr(handler, f"on_{type(event).__name__.lower()}", None)
            if hook is None:
                continue
            try:
                said = yield from call_hook(hook, event)
            except Reject as refusal:
                if conn.pending is not None:
                    answer(conn, refusal)
            else:
                if conn.pending is not None:
                    conn.accept(said)
    finally:
        done = getattr(handler, "on_end", None)
        if done is not None:
            yield Call(done)


class Echo:
    """A handler that says back what it is told."""

    def on_line(self, event: Line) -> Any:
        return event.text

    def on_stored(self, event: Stored) -> str:
        return f"stored {event.size}"


class Large(Echo):
    """One that says it back 900 times."""

    def on_line(self, event: Line) -> str:
        return event.text * 900
