"""Replays dialogues into the two connections, cut in every way, and drives flows against each other in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailproto._core.codec import decode_base64
from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto.errors import ConnectionClosedError, MailProtoError
from mailproto.pop3 import (
    Apop,
    Auth,
    AuthResponse,
    ListingReceived,
    Login,
    MessageChunk,
    MessageInfo,
    POP3ClientConnection,
    POP3ServerConnection,
    Retrieve,
    StartTLS,
    TLSInfo,
)

TLS = TLSInfo("TLSv1.3")


@dataclass
class Played:
    """All that can be seen of a replay: events with chunks merged, output, and how it ended."""

    events: list[Any] = field(default_factory=list)
    output: bytes = b""
    error: str | None = None

    def add(self, event: Any) -> None:
        if isinstance(event, MessageChunk) and self.events and isinstance(self.events[-1], MessageChunk):
            self.events[-1] = MessageChunk(self.events[-1].data + event.data)
        else:
            self.events.append(event)


def cuts(streams: Sequence[bytes]) -> Iterator[list[list[bytes]]]:
    """Yield ``streams``, each as pieces: whole, byte by byte, and with every single cut of one of them."""
    yield [[stream] for stream in streams]
    yield [[stream[i : i + 1] for i in range(len(stream))] for stream in streams]
    for index, stream in enumerate(streams):
        for position in range(1, len(stream)):
            pieces = [[other] for other in streams]
            pieces[index] = [stream[:position], stream[position:]]
            yield pieces


# The server.


@dataclass
class Application:
    """Answers a server's events from a maildrop and a stock of words.

    ``words`` are for each kind of event the texts of its acceptances, in order; a `Refused` is a refusal.
    """

    contents: Sequence[bytes] = ()
    uids: Sequence[str] = ()
    words: dict[type, list[Any]] = field(default_factory=dict)

    @property
    def maildrop(self) -> list[MessageInfo]:
        uids = self.uids or [f"uid{number}" for number in range(1, len(self.contents) + 1)]
        return [MessageInfo(len(content), uid) for content, uid in zip(self.contents, uids, strict=True)]

    def answer(self, conn: POP3ServerConnection, event: Any) -> None:
        words = self.words.get(type(event), [])
        word = words.pop(0) if words else None
        if isinstance(word, Refused):
            conn.reject(text=word.text, enhanced=word.code)
            return
        if isinstance(word, bytes):
            conn.challenge(word)
            return
        match event:
            case Login() | Apop() | Auth() | AuthResponse():
                conn.accept(word, maildrop=self.maildrop)
            case Retrieve(number):
                conn.accept(word)
                conn.send_data(self.contents[number - 1])
                conn.end_data()
            case _:
                conn.accept(word)

    def copy(self) -> Application:
        return Application(self.contents, self.uids, {kind: list(words) for kind, words in self.words.items()})


@dataclass
class Refused:
    text: str | None = None
    code: str | None = None


def play_server(
    make: Callable[[], POP3ServerConnection],
    segments: Iterable[Iterable[bytes]],
    application: Application,
) -> Played:
    """Feed a server, and then the end of input. TLS is established between one segment and the next."""
    conn = make()
    application = application.copy()
    played = Played()

    def drain() -> None:
        while (event := conn.next_event()) is not None or conn.output_full:
            if event is not None:
                played.add(event)
            if conn.pending is not None:
                application.answer(conn, event)
            played.output += conn.data_to_send()
        played.output += conn.data_to_send()

    drain()
    for number, pieces in enumerate(segments):
        if number:
            conn.tls_established(TLS)
            drain()
        for piece in filter(None, pieces):
            conn.receive_data(piece)
            drain()
    conn.receive_eof()
    drain()
    return played


def every_server_cut(
    make: Callable[[], POP3ServerConnection], segments: Sequence[bytes], application: Application
) -> Played:
    """Play whole, byte by byte, and with every single cut; return what all of them came to."""
    played = [play_server(make, pieces, application) for pieces in cuts(segments)]
    assert all(other == played[0] for other in played)
    return played[0]


# The client.


def say(conn: POP3ClientConnection, line: bytes, secret: str = "") -> Any:
    """Call the method that makes a client say ``line``."""
    verb, *words = line.decode().split(" ")
    match verb:
        case "APOP":
            return conn.apop(words[0], secret)
        case "AUTH":
            response = None if len(words) < 2 else b"" if words[1] == "=" else decode_base64(words[1].encode())
            return conn.auth(words[0], response)
        case "PASS":
            return conn.pass_(line[5:].decode())
        case "USER":
            return conn.user(words[0])
        case "LANG":
            return conn.lang(*words) if words else conn.languages()
        case "XCLIENT":
            return conn.xclient({name: value for name, _, value in (word.partition("=") for word in words)})
    return getattr(conn, verb.lower())(*map(int, words))


def play_client(
    make: Callable[[], POP3ClientConnection],
    lines: Sequence[bytes | None],
    answers: Iterable[Iterable[bytes]],
    secret: str = "",
) -> Played:
    """Replay what a server answers to each line of the client's; to None, when the client waits for it.

    An answer comes only when the client has said its part.
    """
    conn = make()
    played = Played()

    def drain() -> None:
        try:
            while (event := conn.next_event()) is not None:
                played.add(event if isinstance(event, MessageChunk) else show(event))
                if isinstance(event, StartTLS):
                    conn.tls_established(TLS)
        except MailProtoError as error:
            played.error = f"{type(error).__name__}: {error}"
        played.output += conn.data_to_send()

    challenged = False
    for line, pieces in zip(lines, answers, strict=True):
        if challenged and line is not None:
            conn.auth_cancel() if line == b"*" else conn.auth_response(decode_base64(line))
        elif line is not None:
            say(conn, line, secret)
        drain()
        for piece in filter(None, pieces):
            conn.receive_data(piece)
            drain()
        challenged = b"".join(pieces).startswith(b"+ ")
        if played.error is not None:
            break
    conn.receive_eof()
    drain()
    return played


def every_client_cut(
    make: Callable[[], POP3ClientConnection], turns: Sequence[tuple[bytes | None, bytes]], secret: str = ""
) -> Played:
    """Play whole, byte by byte, and with every single cut; return what all of them came to."""
    lines, answers = [line for line, _ in turns], [answer for _, answer in turns]
    played = [play_client(make, lines, pieces, secret) for pieces in cuts(answers)]
    assert all(other == played[0] for other in played)
    return played[0]


def show(event: Any) -> str:
    """Return all that an event says, as far as another one can be compared with it."""
    return f"{event!r} {event.entries!r}" if isinstance(event, ListingReceived) else repr(event)


# Transcripts.


def read_transcript(text: str) -> list[tuple[str, bytes]]:
    """Return (who, what) for each line; ``who`` is C, S or TLS, ``what`` has its CRLF.

    A line that begins with spaces goes on with the one before.
    """
    entries = []
    for line in re.sub("\n +", "", text).strip("\n").split("\n"):
        who, _, what = line.partition(": ") if line != "TLS" else ("TLS", "", "")
        entries.append((who.rstrip(":"), what.encode() + b"\r\n"))
    return entries


def client_turns(transcript: Sequence[tuple[str, bytes]]) -> list[tuple[bytes | None, bytes]]:
    """Return the turns of `play_client` for a transcript. It begins with the server's greeting."""
    turns: list[tuple[bytes | None, bytes]] = [(None, b"")]
    for who, what in transcript:
        if who == "C":
            turns.append((what[:-2], b""))
        elif who == "S":
            turns[-1] = (turns[-1][0], turns[-1][1] + what)
    return turns


def server_segments(transcript: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """Return what the client says in a transcript, in pieces that TLS parts."""
    segments = [b""]
    for who, what in transcript:
        if who == "C":
            segments[-1] += what
        elif who == "TLS":
            segments.append(b"")
    return segments


def said(transcript: Sequence[tuple[str, bytes]], speaker: str) -> bytes:
    """Return all that one side says."""
    return b"".join(what for who, what in transcript if who == speaker)


# Flows.


class Runner:
    """Drives one flow in memory, as far as it gets without input."""

    def __init__(self, conn: Any, flow: Flow[Any]) -> None:
        self.conn = conn
        self.flow = flow
        self.output = b""
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.slept: list[float] = []

    def run(self, fail: BaseException | None = None) -> None:
        """Go on until the flow waits for input, or is over. ``fail`` is thrown into it first."""
        value: Any = None
        error = fail
        while not self.done:
            try:
                wish = self.flow.send(value) if error is None else self.flow.throw(error)
            except StopIteration as stop:
                self.done, self.result = True, stop.value
            except Exception as failure:
                self.done, self.error = True, failure
            value = error = None
            if self.done:
                break
            if type(wish) is Call:
                try:
                    value = wish.function(*wish.arguments)
                except Exception as failure:
                    error = failure
                continue
            self.output += self.conn.data_to_send()
            if wish is Want.READ:
                return
            if wish is Want.START_TLS:
                self.conn.tls_established(TLS)
            elif isinstance(wish, Sleep):
                self.slept.append(wish.seconds)
        self.output += self.conn.data_to_send()

    def take(self) -> bytes:
        output, self.output = self.output, b""
        return output

    def lose(self) -> None:
        """Tell the flow, as a driver does, that the connection is gone."""
        self.conn.receive_eof()
        self.run(ConnectionClosedError("the connection is lost"))


def run_pair(
    client: Runner, server: Runner, cut: Callable[[bytes], Iterable[bytes]] = lambda data: [data]
) -> tuple[bytes, bytes]:
    """Run a client's flow against a server's until the client's is over; return what each of them said."""
    spoken = [b"", b""]
    sides = (client, server)
    client.run()
    server.run()
    while not client.done:
        moved = False
        for index, (sender, receiver) in enumerate((sides, sides[::-1])):
            data = sender.take()
            spoken[index] += data
            for piece in filter(None, cut(data)):
                moved = True
                if not receiver.done:
                    receiver.conn.receive_data(piece)
                    receiver.run()
        if server.done and not moved and not client.done:
            client.conn.receive_eof()
            client.run()
        elif not moved and not client.done:
            raise AssertionError("a deadlock")
    return spoken[0], spoken[1]


# Talking to a machine by hand.


def talk(conn: POP3ClientConnection | POP3ServerConnection, data: bytes) -> Any:
    """Feed ``data`` and return the next event."""
    conn.receive_data(data)
    return conn.next_event()


def events(conn: POP3ClientConnection | POP3ServerConnection) -> list[Any]:
    """Return all events that there are."""
    found = []
    while (event := conn.next_event()) is not None:
        found.append(event)
    return found
