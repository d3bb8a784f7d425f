"""A server that says a line too many, anywhere: what was not stored is not deleted, and not remembered as stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from mailproto import sync
from mailproto._core.flow import Flow
from mailproto.errors import MailProtoError, RemoteProtocolError
from mailproto.pop3 import POP3ClientConnection, ResponseError
from mailproto.pop3.flows import Fetch, listing, quit_session
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note
from tests.keep.scripted import Mail, Server, log_in, mail, session
from tests.pop3.harness import Runner

MAILS = [
    mail("one"),
    mail("two"),  # as long as the one before
    Mail("three", b"+OK this is no response\r\n\r\nand neither is\r\n-ERR this\r\n"),
    Mail("four", b""),
    mail("five", length=50),
]
STRAY = [b"+OK", b"+OK 22 octets", b"-ERR not so fast", b"what?", b"."]
NOWHERE = 1 << 30


@dataclass
class Babbler(Server):
    """Says one line too many, in front of line ``place`` of all that it says."""

    stray: bytes = b""
    place: int = NOWHERE
    said: int = 0
    removed: set[str] = field(default_factory=set)

    def answer_in_parts(self, command: bytes) -> tuple[bytes, bytes]:
        """Return the answer up to the stray line, if that is in it, and what is behind."""
        lines = self.answer(command).split(b"\r\n")[:-1]
        place, self.said = self.place - self.said, self.said + len(lines)
        here = 0 <= place < len(lines)
        before, behind = ([*lines[:place], self.stray], lines[place:]) if here else (lines, [])
        return b"".join(line + b"\r\n" for line in before), b"".join(line + b"\r\n" for line in behind)

    def _quit(self) -> bytes:
        self.removed.update(mail.uid for number, mail in enumerate(self.mails, 1) if number in self.marked)
        return super()._quit()


class Shelf(dict[str, bytes]):
    """A store that keeps everything it was given, by its digest."""

    def put(self, content: bytes) -> None:
        self[sha256(content).hexdigest()] = content

    def __call__(self, note: Note, content: Any) -> None:
        self.put(b"".join(content))


class Notes(dict[str, Note]):
    """A ledger in memory."""

    def read(self) -> dict[str, Note]:
        return dict(self)

    def begin(self, key: str, now: float, sha256: str) -> Note:
        return self.setdefault(key, Note(key, now, sha256))

    def finish(self, key: str) -> None:
        self[key] = replace(self[key], stored=True, deleted=False)

    def mark_deleted(self, keys: Sequence[str]) -> None:
        self.update({key: replace(self[key], deleted=True) for key in keys})

    def forget(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self[key]


Job = Callable[[POP3ClientConnection, Notes, Shelf], Flow[None]]


def keep(conn: POP3ClientConnection, notes: Notes, shelf: Shelf) -> Flow[None]:
    yield from session(conn, notes, shelf, KeepPolicy(keep=False), 0.0, KeepReport())


def fetch(conn: POP3ClientConnection, notes: Notes, shelf: Shelf) -> Flow[None]:
    """Fetch without a ledger, and delete each message as soon as it is stored."""
    yield from log_in(conn)
    fetch = Fetch(conn, (yield from listing(conn)))
    while True:
        try:
            message = yield from fetch.next_message()
        except ResponseError:
            continue
        if message is None:
            break
        content = b""
        while (chunk := (yield from fetch.next_chunk())) is not None:
            content += chunk
        shelf.put(content)
        fetch.delete(message.number)
    yield from quit_session(conn)


def talk(server: Babbler, job: Job, notes: Notes, shelf: Shelf, *, late: bool) -> BaseException | None:
    """Do the job in one session, and return what ended it.

    When it is ``late``, what is behind the stray line comes only when the client has said something else, or waits.
    """
    conn = POP3ClientConnection()
    runner = Runner(conn, job(conn, notes, shelf))
    conn.receive_data(b"+OK\r\n")
    server.marked.clear()
    held = b""
    while not runner.done:
        runner.run()
        commands = runner.take().split(b"\r\n")[:-1]
        if held:
            conn.receive_data(held)
        elif not commands:
            conn.receive_eof()
        held = b""
        for command in commands:
            first, rest = server.answer_in_parts(command)
            if held:
                held += first + rest
            elif late:
                conn.receive_data(first)
                held = rest
            else:
                conn.receive_data(first + rest)
    return runner.error


def babblers(job: Job, **how: Any) -> Iterator[Babbler]:
    """Yield a server for each line too many, and each place for it."""
    whole = Babbler(list(MAILS), **how)
    assert talk(whole, job, Notes(), Shelf(), late=False) is None
    assert len(whole.removed) == len(MAILS) - len(whole.refused)
    for place in range(whole.said):
        for stray in STRAY:
            yield Babbler(list(MAILS), stray=stray, place=place, **how)


def is_of(content: bytes, whole: bytes, stray: bytes) -> bool:
    """Say whether this is a message, or one with the stray line in it: what comes inside of it belongs to it."""
    lines = content.split(b"\r\n")
    without = (b"\r\n".join(lines[:at] + lines[at + 1 :]) for at, line in enumerate(lines) if line == stray)
    return content == whole or whole in without


def check(server: Babbler, notes: Notes, shelf: Shelf) -> None:
    """See that what is gone was stored, and that what is noted was."""
    wholes = {mail.uid: mail.content for mail in MAILS}
    where = f"{server.stray!r} in front of line {server.place}"
    for uid in server.removed:
        assert any(is_of(content, wholes[uid], server.stray) for content in shelf.values()), f"{uid} is lost: {where}"
    for key, note in notes.items():
        if note.stored:
            named = [wholes[key]] if key in wholes else wholes.values()
            assert any(is_of(shelf[note.sha256], whole, server.stray) for whole in named), f"a wrong note: {where}"


@pytest.mark.parametrize("job", [keep, fetch])
@pytest.mark.parametrize("lists", ["one", "all", "none"])
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "lock-step"])
@pytest.mark.parametrize("refused", [frozenset[bytes](), frozenset({b"RETR 2"})], ids=["", "refusing"])
def test_nothing_is_lost_by_a_line_too_many(
    job: Job, lists: str, pipelining: bool, refused: frozenset[bytes]
) -> None:
    ends: set[type] = set()
    for late, uidl in [(False, True), (True, True), (True, False)] if lists == "one" else [(True, True)]:
        for server in babblers(job, lists=lists, pipelining=pipelining, uidl=uidl, refused=refused):
            shelf, notes = Shelf(), Notes()
            ends.add(type(talk(server, job, notes, shelf, late=late)))
            check(server, notes, shelf)
            server.place = NOWHERE
            assert talk(server, job, notes, shelf, late=False) is None
            check(server, notes, shelf)
            assert {mail.uid for mail in server.mails} <= {"two"}, "the next time all is as it should be"
    assert RemoteProtocolError in ends and all(end is type(None) or issubclass(end, MailProtoError) for end in ends)


TOPS = [mail for mail in MAILS if not mail.content.startswith(b"+OK")]  # no header does


def look(conn: POP3ClientConnection, notes: Notes, shelf: Shelf) -> Flow[None]:
    """Look at the top of every message; the note says at whose."""
    client = sync.POP3Client()
    client.conn = conn
    yield from log_in(conn)
    for number, wanted in enumerate(TOPS, 1):
        with suppress(ResponseError):
            top = yield from client._retrieve(number, 0)
            shelf.put(top)
            notes[wanted.uid] = Note(wanted.uid, 0.0, sha256(top).hexdigest())
    yield from quit_session(conn)


@pytest.mark.parametrize("lists", ["one", "all", "none"])
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "lock-step"])
@pytest.mark.parametrize("late", [True, False])
def test_no_top_is_taken_for_that_of_another_message(lists: str, pipelining: bool, late: bool) -> None:
    whole = Babbler(list(TOPS), lists=lists, pipelining=pipelining)
    notes, shelf = Notes(), Shelf()
    assert talk(whole, look, notes, shelf, late=False) is None
    assert [shelf[notes[mail.uid].sha256] for mail in TOPS] == [mail.header for mail in TOPS]
    for place, stray in itertools.product(range(whole.said), STRAY):
        server = Babbler(list(TOPS), lists=lists, pipelining=pipelining, stray=stray, place=place)
        notes, shelf = Notes(), Shelf()
        error = talk(server, look, notes, shelf, late=late)
        assert error is None or isinstance(error, MailProtoError)
        for wanted in TOPS:
            if wanted.uid in notes:
                top = shelf[notes[wanted.uid].sha256]
                assert is_of(top, wanted.header, stray), f"not of {wanted.uid}: {stray!r} in front of line {place}"
