"""Fetch and keep: what is fetched, what is remembered, what goes from the server, over both adapters."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailproto import ConnectionClosedError, aio, sync
from mailproto.ledger import MaildirStore, SQLiteLedger
from mailproto.maildrop import Maildir
from mailproto.pop3 import MessageInfo, POP3ServerConfig
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note
from tests.keep.scripted import Shelf

DAY = 86400.0


class Drop:
    """A maildrop whose unique-ids are as the test wants them."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[str, bytes]] = {}
        self.vanished: set[str] = set()

    def put(self, name: str, size: int = 20, uid: str | None = None) -> None:
        """Put a message in, with a unique-id of its name or of another one."""
        self.contents[name] = (uid or name, f"Subject: {name}\r\n\r\n".encode().ljust(size, b"x") + b"\r\n")


class View:
    """One session's view of the drop."""

    def __init__(self, drop: Drop) -> None:
        self._drop = drop
        self._names = list(drop.contents)
        self.messages = [MessageInfo(len(content), uid) for uid, content in drop.contents.values()]

    def retrieve(self, number: int) -> Iterator[bytes]:
        name = self._names[number - 1]
        if name in self._drop.vanished:
            raise LookupError(name)
        return iter((self._drop.contents[name][1],))

    def commit(self, deleted: Sequence[int]) -> None:
        for number in deleted:
            del self._drop.contents[self._names[number - 1]]

    def close(self) -> None:
        pass


class Host:
    """The hooks of the server."""

    def __init__(self, drop: Drop) -> None:
        self._drop = drop

    def on_auth(self, session: Any, check: object) -> bool:
        return True

    def on_login(self, session: Any) -> View:
        return View(self._drop)


@pytest.fixture
def drop() -> Drop:
    """Return a maildrop with three messages."""
    drop = Drop()
    for name in ("one", "two", "three"):
        drop.put(name)
    return drop


@pytest.fixture
def port(drop: Drop) -> Iterator[int]:
    """Return the port of a server over it."""
    with sync.POP3Server(Host(drop), port=0, config=POP3ServerConfig(allow_plaintext_auth=True)) as server:
        yield server.port


LOGIN: dict[str, Any] = {"tls": sync.TLSPolicy.NONE, "user": "ada", "password": "pw", "allow_plaintext_auth": True}
Fetch = Callable[..., KeepReport]


def fetch_sync(port: int, *arguments: Any, **keywords: Any) -> KeepReport:
    """Fetch over blocking sockets."""
    with sync.POP3Client("127.0.0.1", port, **LOGIN) as pop:
        return pop.fetch_new(*arguments, **keywords)


def fetch_aio(port: int, *arguments: Any, **keywords: Any) -> KeepReport:
    """Fetch over asyncio."""

    async def main() -> KeepReport:
        async with aio.POP3Client("127.0.0.1", port, **LOGIN) as pop:
            return await pop.fetch_new(*arguments, **keywords)

    return asyncio.run(main())


@pytest.fixture(params=[fetch_sync, fetch_aio], ids=["sync", "aio"])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    """Return what fetches."""
    fetch: Fetch = request.param
    return fetch


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SQLiteLedger]:
    """Return a new ledger."""
    with SQLiteLedger(tmp_path / "ledger", "ada@here") as ledger:
        yield ledger


def age(ledger: SQLiteLedger, days: float) -> None:
    """Make every note older."""
    notes = ledger.read()
    ledger.forget(list(notes))
    for note in notes.values():
        ledger.begin(note.key, note.first_seen - days * DAY, note.sha256)
        ledger.finish(note.key)


def test_only_what_is_new_is_fetched(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    shelf = Shelf()
    report = fetch(port, ledger, shelf)
    assert [entry.uid for entry in report.fetched] == ["one", "two", "three"]
    drop.put("four")
    assert [entry.uid for entry in fetch(port, ledger, shelf).fetched] == ["four"]
    assert fetch(port, ledger, shelf).fetched == []
    assert shelf.stored == ["one", "two", "three", "four"]
    assert list(drop.contents) == ["one", "two", "three", "four"]


def test_without_keep_what_is_safe_is_deleted(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    report = fetch(port, ledger, Shelf(), KeepPolicy(keep=False))
    assert report.deleted == [1, 2, 3]
    assert drop.contents == {}


def test_what_was_kept_is_deleted_when_its_time_has_come(
    fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop
) -> None:
    policy = KeepPolicy(delete_after=7 * DAY)
    fetch(port, ledger, Shelf(), policy)
    age(ledger, 6)
    drop.put("four")
    assert fetch(port, ledger, Shelf(), policy).deleted == []
    age(ledger, 1.5)
    assert fetch(port, ledger, Shelf(), policy).deleted == [1, 2, 3]
    assert list(drop.contents) == ["four"]


def test_what_is_big_is_deleted_once_it_is_safe(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    drop.put("big", size=1000)
    drop.put("bigger", size=1001)
    big = len(drop.contents["big"][1])
    assert fetch(port, ledger, Shelf(), KeepPolicy(limit=4, delete_over=big)).deleted == []
    assert fetch(port, ledger, Shelf(), KeepPolicy(max_size=big, delete_over=big)).deleted == [], "it is not safe yet"
    assert fetch(port, ledger, Shelf(), KeepPolicy(delete_over=big)).deleted == [5]
    assert list(drop.contents) == ["one", "two", "three", "big"]


def test_size_and_number_have_their_caps(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    drop.put("big", size=10_000)
    drop.put("last")
    report = fetch(port, ledger, Shelf(), KeepPolicy(max_size=1000, limit=2))
    assert [entry.uid for entry in report.fetched] == ["one", "two"]
    report = fetch(port, ledger, Shelf(), KeepPolicy(max_size=1000, keep=False))
    assert [entry.uid for entry in report.fetched] == ["three", "last"]
    assert [message.uid for message in report.too_big] == ["big"]
    assert list(drop.contents) == ["big"]


def test_a_vanished_message_is_told_and_the_others_fetched(
    fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop
) -> None:
    drop.vanished.add("two")
    report = fetch(port, ledger, Shelf())
    assert [entry.uid for entry in report.fetched] == ["one", "three"]
    assert len(report.refused) == 1
    drop.vanished.clear()
    assert [entry.uid for entry in fetch(port, ledger, Shelf()).fetched] == ["two"]


@pytest.fixture
def careless_port() -> Iterator[int]:
    """Return the port of a server with unique-ids that are not unique, and neither CAPA nor pipelining."""
    messages = [b"Subject: %b\r\n" % name for name in (b"one", b"four", b"five", b"four")]
    answers = {
        b"USER ada": b"+OK\r\n",
        b"PASS pw": b"+OK\r\n",
        b"LIST": b"+OK\r\n1 14\r\n2 15\r\n3 15\r\n4 15\r\n.\r\n",
        b"UIDL": b"+OK\r\n1 one\r\n2 same\r\n3 same\r\n4 same\r\n.\r\n",
        b"QUIT": b"+OK\r\n",
    } | {b"RETR %d" % number: b"+OK\r\n%b.\r\n" % message for number, message in enumerate(messages, 1)}

    class Careless(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"+OK careless\r\n")
            for line in self.rfile:
                self.wfile.write(answers.get(line.rstrip(b"\r\n"), b"-ERR what?\r\n"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_equal_unique_ids_are_no_unique_ids(fetch: Fetch, careless_port: int, ledger: SQLiteLedger) -> None:
    shelf = Shelf()
    assert [entry.uid for entry in fetch(careless_port, ledger, shelf).fetched] == ["one", None, None]
    assert fetch(careless_port, ledger, shelf).fetched == []
    assert shelf.stored == ["one", "four", "five"], "what is the same octet by octet is one message"


def test_a_unique_id_that_is_used_again_is_new(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    fetch(port, ledger, Shelf())
    del drop.contents["two"]
    fetch(port, ledger, Shelf())
    drop.put("other", uid="two")
    shelf = Shelf()
    fetch(port, ledger, shelf)
    assert shelf.stored == ["other"]


def test_an_empty_maildrop_makes_nobody_forget(fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    fetch(port, ledger, Shelf())
    kept, drop.contents = drop.contents, {}
    assert fetch(port, ledger, Shelf()).fetched == []
    drop.contents = kept
    assert fetch(port, ledger, Shelf()).fetched == []


def test_what_could_not_be_stored_is_not_remembered(
    fetch: Fetch, port: int, ledger: SQLiteLedger, drop: Drop
) -> None:
    shelf = Shelf()

    def full(note: Note, content: Any) -> None:
        if note.key == "two":
            raise OSError("disk full")
        shelf(note, content)

    report = KeepReport()
    with pytest.raises(OSError, match="disk full"):
        fetch(port, ledger, full, KeepPolicy(keep=False), report=report)
    assert [entry.uid for entry in report.fetched] == ["one"]
    assert len(drop.contents) == 3, "no QUIT, no deletion"
    fetch(port, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["one", "two", "three"]
    assert drop.contents == {}, "and what was safe before is deleted, too"


def test_interrupted_between_storing_and_noting(tmp_path: Path, port: int, ledger: SQLiteLedger, drop: Drop) -> None:
    """The worst moment: the message is there, and the ledger does not know. Readers have moved it meanwhile."""
    maildir = Maildir(tmp_path / "maildir")
    store = MaildirStore(maildir, "ada@here")

    def die(note: Note, content: Any) -> None:
        store(note, content)
        raise ConnectionClosedError("the power is gone")

    for _ in range(3):
        with pytest.raises(ConnectionClosedError):
            fetch_sync(port, ledger, die)
    (path,) = maildir.path.glob("new/*")
    path.rename(maildir.path / "cur" / f"{path.name}:2,S")
    fetch_sync(port, ledger, MaildirStore(maildir, "ada@here"))
    assert len(list(maildir.path.glob("*/*.mailproto,*"))) == 3


def test_accounts_and_threads_share_a_ledger(tmp_path: Path) -> None:
    with SQLiteLedger(tmp_path / "l", "ada@a") as ada, SQLiteLedger(tmp_path / "l", "bob@b") as bob:

        def fill(book: SQLiteLedger) -> None:
            for number in range(20):
                book.finish(book.begin(str(number), number, "a1").key)

        threads = [threading.Thread(target=fill, args=(book,)) for book in (ada, ada, bob)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ada.forget(["3"])
        assert len(ada.read()) == 19
        assert bob.read()["3"] == Note("3", 3.0, "a1", stored=True)
        assert ada.begin("4", 99.0, "b2") == Note("4", 4.0, "a1", stored=True), "the first sight counts"
