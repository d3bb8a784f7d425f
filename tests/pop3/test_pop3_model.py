"""Two random clients at one maildrop, and mail that comes in meanwhile: what is kept and given out is what POP3 says.

RFC 1939: a session sees what was there at its beginning (section 4), one at a time has the maildrop, and what is gone
for good is what QUIT was said to (section 6), whatever else becomes of the session.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto.maildrop import Maildir, Maildrop, Mbox, MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig, POP3ServerConnection
from mailproto.pop3.flows.server import POP3Session, serve
from tests.helpers import PROPERTY
from tests.smtp.pipes import Driver

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *["deliver", "log in", "QUIT"] * 2,
                *["drop the line", "DELE 1", "DELE 2", "DELE 3", "RSET"],
                *["RETR 1", "RETR 2", "TOP 1 0", "UIDL", "NOOP"],
            ]
        ),
        st.integers(0, 1),
    ),
    min_size=20,
    max_size=40,
)


class Client:
    """One client, and what it may believe of the maildrop."""

    def __init__(self, host: MailHost) -> None:
        self._host = host
        self._driver: Driver | None = None
        self.seen: list[bytes] = []  # the messages of its session
        self.marked: set[int] = set()

    @property
    def logged_in(self) -> bool:
        """Whether it has the maildrop."""
        return self._driver is not None

    def log_in(self, stored: list[bytes], busy: bool) -> None:
        """Begin a session, which is refused while the other client has one."""
        conn = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
        driver = Driver(conn, serve(POP3Session(conn, "127.0.0.1"), self._host))
        driver.go()
        answer = driver.go(b"USER ada\r\nPASS secret\r\n").split(b"\r\n")[1]
        if busy:
            assert answer.startswith(b"-ERR [IN-USE]")
            driver.go(None)
            return
        assert answer.startswith(b"+OK")
        self._driver, self.seen, self.marked = driver, list(stored), set()

    def say(self, command: str) -> None:
        """Say something within the session, and check the answer."""
        answer = self._go(f"{command}\r\n".encode())
        verb, _, argument = command.partition(" ")
        number = int(argument[:1] or 0)
        there = 1 <= number <= len(self.seen) and number not in self.marked
        assert answer.startswith(b"+OK" if there or not number else b"-ERR"), (command, answer)
        if verb == "RETR" and there:
            assert answer.partition(b"\r\n")[2] == self.seen[number - 1] + b".\r\n"
        elif verb == "DELE" and there:
            self.marked.add(number)
        elif verb == "RSET":
            self.marked.clear()
        elif verb == "UIDL":
            assert answer.count(b"\r\n") == 2 + len(self.seen) - len(self.marked)

    def leave(self, *, politely: bool) -> list[bytes]:
        """End the session; return what is gone with it."""
        if politely:
            assert self._go(b"QUIT\r\n").startswith(b"+OK")
        assert self._driver is not None
        self._driver.go(None)
        self._driver = None
        return [self.seen[number - 1] for number in self.marked] if politely else []

    def _go(self, words: bytes) -> bytes:
        assert self._driver is not None
        return self._driver.go(words)


@contextmanager
def memory() -> Iterator[Maildrop]:
    yield MemoryMaildrop()


@contextmanager
def maildir() -> Iterator[Maildrop]:
    with tempfile.TemporaryDirectory() as folder:
        yield Maildir(Path(folder) / "drop")


@contextmanager
def mbox() -> Iterator[Maildrop]:
    with tempfile.TemporaryDirectory() as folder:
        yield Mbox(Path(folder) / "drop")


@pytest.mark.parametrize("make", [memory, maildir, mbox])
@settings(parent=PROPERTY, max_examples=60)
@given(actions=ACTIONS)
def test_a_maildrop_keeps_and_gives_what_pop3_says(
    make: Callable[[], AbstractContextManager[Maildrop]], actions: list[tuple[str, int]]
) -> None:
    with make() as drop:
        host = MailHost(lambda _: drop, {"ada": "secret"})
        clients = [Client(host), Client(host)]
        stored: list[bytes] = []
        holder: Client | None = None  # who has the maildrop, and says all that only he can say
        for count, (action, who) in enumerate(actions):
            if action == "deliver":
                stored.append(b"Subject: %d\r\n\r\nnumber %d\r\n" % (count, count))
                drop.deliver([stored[-1]])
            elif action == "log in" or holder is None:
                if not clients[who].logged_in:
                    clients[who].log_in(stored, busy=holder is not None)
                holder = holder or clients[who]
            elif action in ("QUIT", "drop the line"):
                gone = holder.leave(politely=action == "QUIT")
                stored = [message for message in stored if message not in gone]
                holder = None
            else:
                holder.say(action)
        if holder is not None:
            holder.leave(politely=False)
        with closing(drop.open()) as snapshot:
            numbers = range(1, len(snapshot.messages) + 1)
            assert [b"".join(cast(Iterator[bytes], snapshot.retrieve(number))) for number in numbers] == stored
