"""The machines under hypothesis: random octets into each, and one against the other through random cuts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto.errors import RemoteProtocolError
from mailproto.pop3 import (
    Capabilities,
    ClientState,
    ConnectionClosed,
    Limits,
    ListingReceived,
    MessageChunk,
    MessageEnd,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    ResponseReceived,
    Stat,
    Update,
)
from mailproto.pop3.command import Command
from tests.pop3.harness import Application, play_server, show

CONFIG = POP3ServerConfig(
    allow_plaintext_auth=True,
    starttls=False,
    auth_mechanisms=("PLAIN",),
    last=True,
    limits=Limits(max_line=64, max_sasl_line=80, max_errors=6, max_junk=9, max_unsent=300),
)
MAIL = (b"A: b\r\n\r\n.\r\n..\r\nlast\r\n", b"", b"\r\n.\r\n", b"A: b\r\n")

server_words = st.sampled_from(
    [
        *(
            b"USER ada\r\nPASS x\r\n",
            b"USER ada\r\n",
            b"PASS x\r\n",
            b"CAPA\r\n",
            b"STAT\r\n",
            b"LIST\r\n",
            b"UIDL\r\n",
        ),
        *(
            b"RETR 1\r\n",
            b"TOP 1 2\r\n",
            b"DELE 2\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"QUIT\r\n",
            b"LIST 2\r\n",
            b"LAST\r\n",
        ),
        b"AUTH PLAIN AGEAYg==\r\n",
        b"AUTH PLAIN\r\n",
        b"AGEAYg==\r\n",
        b"*\r\n",
        b"AUTH\r\n",
        b"APOP a b\r\n",
        b"STLS\r\n",
        b"x" * 100,
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"\xff",
        b"1",
        b"99999999999999999999999",
    ]
)
client_words = st.sampled_from(
    [
        *(
            b"+OK\r\n",
            b"-ERR\r\n",
            b"+OK 1 9\r\n",
            b"+ \r\n",
            b"+\r\n",
            b"+ aGk=\r\n",
            b"1 9\r\n",
            b".\r\n",
            b"..\r\n",
        ),
        *(
            b"+OK <1@a>\r\n",
            b"TOP\r\n",
            b"PIPELINING\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b".",
            b"\0",
            b"\xff",
            b" ",
            b"x" * 50,
        ),
        b"+OK",
        b"-ERR [IN-USE] x\r\n",
        b"1  x\r\n",
    ]
)


def stream(words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(st.lists(words, max_size=25).map(b"".join), st.binary(max_size=120))


def pieces(data: bytes, positions: list[int]) -> list[bytes]:
    ends = sorted({position % (len(data) + 1) for position in positions} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


positions = st.lists(st.integers(0, 10_000), max_size=12)


@given(stream(server_words), positions)
@settings(max_examples=300)
def test_a_server_takes_anything_and_the_cuts_mean_nothing(data: bytes, where: list[int]) -> None:
    def make() -> POP3ServerConnection:
        return POP3ServerConnection(CONFIG, "<1@example.org>")

    whole = play_server(make, [[data]], Application(MAIL))
    assert play_server(make, [pieces(data, where)], Application(MAIL)) == whole
    assert isinstance(whole.events[-1], ConnectionClosed)
    assert sum(isinstance(event, Update) for event in whole.events) <= 1
    responses = whole.output.split(b"\r\n")
    assert responses[-1] == b""


QUEUE = ("capa", "stat", "list", "uidl", "retr", "noop", "rset", "quit")


@given(stream(client_words), positions, st.lists(st.sampled_from(QUEUE), max_size=6))
@settings(max_examples=300)
def test_a_client_takes_anything_or_fails_for_good(data: bytes, where: list[int], queue: list[str]) -> None:
    seen = [run_client(parts, queue) for parts in ([data], pieces(data, where))]
    assert seen[0] == seen[1]


def run_client(parts: list[bytes], queue: list[str]) -> list[str]:
    """Return what a client makes of a server that sends all of this in answer to its first flight."""
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK\r\n")
    conn.next_event()
    conn.capabilities = Capabilities({"PIPELINING": ()})
    conn.state = ClientState.TRANSACTION
    for name in queue:
        getattr(conn, name)(*([1] if name == "retr" else []))
        if name == "quit":
            break
    conn.data_to_send()
    seen: list[str] = []
    content = b""
    try:
        for part in parts:
            if part:
                conn.receive_data(part)
            while (event := conn.next_event()) is not None:
                if isinstance(event, MessageChunk):
                    content += event.data
                else:
                    seen.append(show(event))
    except RemoteProtocolError as error:
        seen.append(str(error).partition("a response to nothing")[0])
    return [*seen, repr(content)]


# One against the other.


@dataclass
class Session:
    """What a client does, as far as its responses tell, and a model of what has to come of it."""

    contents: list[bytes]
    deleted: set[int] = field(default_factory=set)


line = st.lists(st.sampled_from([b".", b"..", b"", b"a", b"\xff", b"x" * 40, b"From "]), max_size=3).map(b"".join)
body = st.lists(line, max_size=8).map(lambda lines: b"".join(part + b"\r\n" for part in lines))
actions = st.lists(
    st.tuples(
        st.sampled_from(["retr", "top", "dele", "list", "uidl", "stat", "noop", "rset", "list1", "uidl1"]),
        st.integers(1, 4),
        st.integers(0, 4),
    ),
    max_size=12,
)


def queue_action(conn: POP3ClientConnection, action: str, number: int, lines: int) -> Command[Any]:
    queue: dict[str, Callable[[], Command[Any]]] = {
        "retr": lambda: conn.retr(number),
        "top": lambda: conn.top(number, lines),
        "dele": lambda: conn.dele(number),
        "list": conn.list,
        "list1": lambda: conn.list(number),
        "uidl": conn.uidl,
        "uidl1": lambda: conn.uidl(number),
        "stat": conn.stat,
        "noop": conn.noop,
        "rset": conn.rset,
    }
    return queue[action]()


def expect(session: Session, action: str, number: int, lines: int) -> object:
    """Return what has to come of an action: a result, the content of a message, True, or False for -ERR."""
    left = {n: content for n, content in enumerate(session.contents, 1) if n not in session.deleted}
    if action in ("retr", "top", "dele", "list1", "uidl1") and number not in left:
        return False
    match action:
        case "retr":
            return left[number]
        case "top":
            return top_of(left[number], lines)
        case "dele":
            session.deleted.add(number)
        case "rset":
            session.deleted.clear()
        case "list":
            return {n: len(content) for n, content in left.items()}
        case "uidl":
            return {n: f"uid{n}" for n in left}
        case "stat":
            return Stat(len(left), sum(map(len, left.values())))
        case "list1":
            return len(left[number])
        case "uidl1":
            return f"uid{number}"
    return True


def top_of(content: bytes, lines: int) -> bytes:
    head, blank, rest = (b"\r\n" + content).partition(b"\r\n\r\n")
    if not blank:
        return content
    return (head + blank)[2:] + b"".join(part + b"\r\n" for part in rest.split(b"\r\n")[:-1][:lines])


@given(st.lists(body, min_size=1, max_size=3), actions, st.booleans(), st.lists(st.integers(1, 9), max_size=30))
@settings(max_examples=150)
def test_client_and_server_agree_through_any_pipe(
    contents: list[bytes], todo: list[tuple[str, int, int]], pipelining: bool, sizes: list[int]
) -> None:
    server = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
    client = POP3ClientConnection()
    application = Application(contents)
    pipe = Pipe(server, client, application, iter([*sizes, *[10**6] * 10_000]))
    pipe.run()
    user, password = client.user("ada"), client.pass_("secret")
    pipe.run()
    assert user.response is not None
    assert password.response is not None
    assert password.response.ok
    if pipelining:
        client.capa()
        pipe.run()
        assert client.pipelining
    session = Session(contents)
    commands = [queue_action(client, *action) for action in todo]
    quitting = client.quit()
    pipe.run()
    assert [pipe.outcome(command) for command in commands] == [expect(session, *action) for action in todo]
    assert pipe.outcome(quitting) is True
    assert pipe.updates == [Update(tuple(sorted(session.deleted)))]


class Pipe:
    """Moves octets between the two, in pieces of any size, and notes what comes of it."""

    def __init__(
        self,
        server: POP3ServerConnection,
        client: POP3ClientConnection,
        application: Application,
        sizes: Iterator[int],
    ) -> None:
        self.server = server
        self.client = client
        self.application = application
        self.sizes = sizes
        self.updates: list[Update] = []
        self.contents: dict[int, bytes] = {}
        self.content = b""

    def run(self) -> None:
        """Move until nothing moves any more."""
        moved = True
        while moved:
            moved = False
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                self.read()
                data = sender.data_to_send()
                while data:
                    moved = True
                    size = next(self.sizes)
                    receiver.receive_data(data[:size])
                    data = data[size:]
                    self.read()

    def read(self) -> None:
        while (event := self.server.next_event()) is not None:
            if isinstance(event, Update):
                self.updates.append(event)
            if self.server.pending is not None:
                self.application.answer(self.server, self.server.pending)
        while (seen := self.client.next_event()) is not None:
            if isinstance(seen, MessageChunk):
                self.content += seen.data
            elif isinstance(seen, MessageEnd):
                assert seen.size == len(self.content)
                self.contents[id(seen.command)], self.content = self.content, b""
            else:
                assert isinstance(seen, ResponseReceived | ListingReceived | ConnectionClosed) or "Greeting" in repr(
                    seen
                )

    def outcome(self, command: Command[Any]) -> object:
        assert command.done
        assert command.response is not None
        if not command.response.ok:
            return False
        if id(command) in self.contents:
            return self.contents[id(command)]
        return True if command.parse is None else command.result
