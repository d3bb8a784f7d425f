"""Wire fixtures as data, and what replays them: whole, cut at every place, and one octet at a time.

A fixture is the text of a conversation, one step a line, from the point of view of the machine under test::

    ! accept()                       a call on the connection
    S: 220 mx.example.org ESMTP      a line on the wire: from the machine, or to it, whoever it is
    C: MAIL FROM:<ada@example.org>
    E: Mail ada@example.org          the next event, as `describe` puts it
    B: Hello                         a line of a message that comes in chunk events
    TLS                              the handshake is done
    EOF                              the peer closed
    E: FAILS RemoteProtocolError     pulling the next event raises

``C~`` and ``S~`` are lines without CRLF. Lines that the peer says in a row arrive together, however `play` cuts
them; what the machine says is compared where the fixture says it. Lines that begin with ``#`` say why.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from hypothesis import settings

from mailproto import errors, smtp
from mailproto._core.codec import printable
from mailproto._core.connection import Connection
from mailproto._core.events import MessageChunk
from mailproto.address import Address
from mailproto.smtp import Command, EnhancedStatus, Envelope, MailParameters, RcptParameters, Reply

PROPERTY = settings(derandomize=True, max_examples=100, deadline=None)
"""The same examples in every run, and as many as a slow machine has time for."""

THOROUGH = settings(derandomize=True, max_examples=300, deadline=None)


# Events as short lines.


def describe(event: object) -> str:
    """Return an event as one line: its class, then its fields, without what has its default value."""
    if isinstance(event, MessageChunk):
        return f"MessageChunk {event.data!r}"
    if not is_dataclass(event):
        return repr(event)
    words = [type(event).__name__]
    words += [_word(entry.name, getattr(event, entry.name)) for entry in fields(event)]
    return " ".join(word for word in words if word)


def _word(name: str, value: object) -> str:
    match value:
        case None:
            return "<>" if name == "reverse_path" else ""
        case bool():
            return name if value else ""
        case Address() | Reply() | EnhancedStatus():
            return str(value)
        case Command():
            return f"[{value.verb}]"
        case MailParameters() | RcptParameters():
            said = (_parameter(entry.name, getattr(value, entry.name)) for entry in fields(value))
            return " ".join(word for word in said if word)
        case str() | bytes():
            return repr(value) if value else ""
        case Envelope():
            return f"{value.reverse_path or '<>'} > {', '.join(map(str, value.forward_paths))}"
        case enum.Enum():
            return value.name
    return describe(value) if is_dataclass(value) else str(value)


def _parameter(name: str, value: Any) -> str:
    if name == "extra":
        return " ".join(f"{key}={text}" for key, text in value.items())
    if value is None or value is False:
        return ""
    if isinstance(value, frozenset):
        return f"{name}={','.join(sorted(member.value for member in value))}"
    return f"{name}={value.value if isinstance(value, enum.Enum) else value}"


def merged(events: Iterable[object]) -> list[str]:
    """Return the events as lines, neighbouring chunks as one: how a message was cut is nobody's business."""
    lines: list[str] = []
    body = b""
    for event in events:
        if isinstance(event, MessageChunk):
            body += event.data
            continue
        if body:
            lines.append(f"MessageChunk {body!r}")
            body = b""
        lines.append(describe(event))
    return [*lines, f"MessageChunk {body!r}"] if body else lines


# Cuts.


def every_cut(data: bytes) -> Iterator[list[bytes]]:
    """Yield ``data`` whole, one octet at a time, and in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def cut_at(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield ``data`` in pieces of these sizes, over and over."""
    start = turn = 0
    while start < len(data):
        end = start + max(sizes[turn % len(sizes)], 1)
        yield data[start:end]
        start, turn = end, turn + 1


# Talking to a machine without a fixture.


@dataclass
class Talk:
    """What came of feeding a machine."""

    events: list[Any] = field(default_factory=list)
    output: bytes = b""
    error: Exception | None = None

    @property
    def lines(self) -> list[str]:
        return merged(self.events)

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, MessageChunk))

    @property
    def replies(self) -> list[bytes]:
        """The reply codes that were sent, one for each reply."""
        return [line[:3] for line in self.output.split(b"\r\n") if line[3:4] == b" "]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def accept_all(conn: Any, event: object) -> None:
    """Answer every event that asks with yes."""
    conn.accept()


def talk(
    conn: Connection[Any],
    pieces: Iterable[bytes],
    answer: Callable[[Any, Any], None] = accept_all,
    *,
    eof: bool = False,
) -> Talk:
    """Feed a machine piece by piece, have each event answered that wants it, and return what came of it."""
    result = Talk()
    _pull(conn, answer, result)
    for piece in pieces:
        conn.receive_data(piece)
        _pull(conn, answer, result)
    if eof:
        conn.receive_eof()
        _pull(conn, answer, result)
    return result


def _pull(conn: Connection[Any], answer: Callable[[Any, Any], None], result: Talk) -> None:
    if result.error is not None:
        return
    while True:
        try:
            event = conn.next_event()
        except errors.RemoteProtocolError as error:
            result.error = error
            return
        result.output += conn.data_to_send()
        if event is None:
            return
        result.events.append(event)
        answered = conn.pending is not None
        if answered:
            answer(conn, event)
        result.output += conn.data_to_send()


# Fixtures.

Step = tuple[str, str]


def read_steps(text: str) -> list[Step]:
    """Return the steps of a fixture: what kind, and what."""
    steps = []
    for line in text.split("\n"):
        line = line.lstrip(" ")
        if not line or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        steps.append((kind, rest))
    return steps


def _octets(step: Step) -> bytes:
    kind, text = step
    return text.encode("utf-8") + (b"" if kind.endswith("~") else b"\r\n")


def play(
    make: Callable[[], Connection[Any]], script: str, cut: Callable[[bytes], Iterable[bytes]] | int | None = None
) -> None:
    """Replay a fixture once.

    Args:
        cut: how what the peer says is cut: None for not at all, a number for once behind that many octets of all
            that it says, or a function that makes pieces of what comes together.
    """
    _Player(make(), script, cut).run()


def assert_plays(make: Callable[[], Connection[Any]], script: str) -> None:
    """Replay a fixture whole, octet by octet, and cut at every single place."""
    play(make, script)
    play(make, script, lambda data: [data[i : i + 1] for i in range(len(data))])
    player = _Player(make(), script, None)
    total = sum(len(_octets(step)) for step in player.steps if step[0].rstrip(":~") == player.peer)
    for place in range(1, total):
        play(make, script, place)


class _Player:
    def __init__(
        self, conn: Connection[Any], script: str, cut: Callable[[bytes], Iterable[bytes]] | int | None
    ) -> None:
        self.conn: Any = conn
        self.steps = read_steps(script)
        self.peer: Literal["C", "S"] = conn._other
        self._cut = cut
        self._next = 0
        self._heard = 0  # octets of the peer so far
        self._said = b""  # output that no step has asked for yet
        self._came: deque[object] = deque()  # events that no step has asked for yet
        self._body = b""
        self._failed = False
        self._names = {"conn": conn} | _NAMES

    def run(self) -> None:
        self._go_on()
        while self._next < len(self.steps):
            kind, text = self.steps[self._next]
            if kind.rstrip(":~") == self.peer:
                for piece in self._pieces(self._take_group()):
                    self._settle()
                    self.conn.receive_data(piece)
                    self._go_on()
            elif kind.endswith((":", "~")) and kind[0] in "CS":
                self._expect_output(self._take_group())
            elif kind == "TLS":
                self._next += 1
                self._settle()
                self.conn.tls_established()
            elif kind == "EOF":
                self._next += 1
                self._settle()
                self.conn.receive_eof()
            else:
                raise AssertionError(f"step {self._next}: {kind} {text} did not come; {self._state()}")
            self._go_on()
        self._settle()
        assert not self._came, f"nobody expected {merged(self._came)}"
        assert not self._said, f"nobody expected {self._said!r}"

    def _take_group(self) -> bytes:
        """Return the lines that stand in a row from here, said by the same side."""
        side = self.steps[self._next][0][0]
        data = b""
        while self._next < len(self.steps) and self.steps[self._next][0] in (f"{side}:", f"{side}~"):
            data += _octets(self.steps[self._next])
            self._next += 1
        return data

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        start, self._heard = self._heard, self._heard + len(data)
        if callable(self._cut):
            return self._cut(data)
        if self._cut is not None and start < self._cut < self._heard:
            return [data[: self._cut - start], data[self._cut - start :]]
        return [data]

    def _go_on(self) -> None:
        """Do the steps that are ours, as far as the input reaches."""
        while self._next < len(self.steps):
            kind, text = self.steps[self._next]
            if kind == "!":
                eval(text if text.startswith("conn.") else f"conn.{text}", self._names)
            elif kind == "E:":
                if not self._came and not self._pull():
                    return
                came = self._came.popleft()
                line = f"FAILS {type(came).__name__}" if isinstance(came, Exception) else describe(came)
                assert line == text, f"step {self._next}: {line} instead of {text}; {self._state()}"
            elif kind == "B:":
                if not self._read_body(text.encode("utf-8") + b"\r\n"):
                    return
            else:
                return
            self._tap()
            self._next += 1

    def _pull(self) -> bool:
        """Pull one event; say whether there was one."""
        if self.conn.pending is not None:
            return False
        try:
            event = self.conn.next_event()
        except errors.MailProtoError as error:
            event, self._failed = None if self._failed else error, True
        else:
            assert not self._failed, "once failed, always failed"
        self._tap()
        if event is not None:
            self._came.append(event)
        return event is not None

    def _settle(self) -> None:
        while self._pull():
            pass

    def _read_body(self, line: bytes) -> bool:
        while len(self._body) < len(line):
            if not self._came and not self._pull():
                return False
            event = self._came.popleft()
            assert isinstance(event, MessageChunk), f"{describe(event)} instead of {line!r}"
            self._body += event.data
        assert self._body.startswith(line), f"{self._body!r} instead of {line!r}"
        self._body = self._body[len(line) :]
        return True

    def _expect_output(self, expected: bytes) -> None:
        while len(self._said) < len(expected) and self._pull():
            pass
        said, self._said = self._said[: len(expected)], self._said[len(expected) :]
        assert said == expected, f"before step {self._next}: {said!r} was said instead of {expected!r}"

    def _tap(self) -> None:
        self._said += self.conn.data_to_send()

    def _state(self) -> str:
        return f"the machine is in {self.conn.state}, its output is {printable(self._said, 2000)}"


_NAMES: dict[str, Any] = {
    name: value for module in (errors, smtp) for name, value in vars(module).items() if isinstance(value, type)
} | {"Address": Address}
