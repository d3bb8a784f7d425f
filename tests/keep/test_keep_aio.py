"""What waits for disks waits beside the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto.pop3 import MessageInfo, POP3ServerConfig
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note
from tests.adapters.harness import PATIENCE


class Host:
    """The hooks of a server whose maildrop, its own snapshot, has two messages."""

    messages: Sequence[MessageInfo] = (MessageInfo(5, "one"), MessageInfo(5, "two"))

    def on_auth(self, session: Any, check: object) -> bool:
        return True

    def on_login(self, session: Any) -> Host:
        return self

    def retrieve(self, number: int) -> Iterator[bytes]:
        return iter((b"abc\r\n",))

    def commit(self, deleted: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with sync.POP3Server(Host(), port=0, config=POP3ServerConfig(allow_plaintext_auth=True)) as server:
        yield server.port


def wait_for(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the loop has had a turn, which it has not as long as it waits for this."""
    turned = threading.Event()
    loop.call_soon_threadsafe(turned.set)
    assert turned.wait(PATIENCE), "the loop stands still"


class BlockingLedger:
    """A ledger in memory that waits in every method."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.notes: dict[str, Note] = {}

    def read(self) -> dict[str, Note]:
        wait_for(self._loop)
        return dict(self.notes)

    def begin(self, key: str, now: float, sha256: str) -> Note:
        wait_for(self._loop)
        return self.notes.setdefault(key, Note(key, now, sha256))

    def finish(self, key: str) -> None:
        wait_for(self._loop)
        self.notes[key] = Note(key, 0.0, "", stored=True)

    def mark_deleted(self, keys: Sequence[str]) -> None:
        wait_for(self._loop)

    def forget(self, keys: Sequence[str]) -> None:
        wait_for(self._loop)
        for key in keys:
            del self.notes[key]


def fetch(port: int, make_store: Callable[[asyncio.AbstractEventLoop], Any]) -> KeepReport:
    """Fetch into a store, and forget that there was a third message."""

    async def main() -> KeepReport:
        loop = asyncio.get_running_loop()
        ledger = BlockingLedger(loop)
        ledger.notes["gone"] = Note("gone", 0.0, "", stored=True)
        login: dict[str, Any] = {"user": "ada", "password": "pw", "allow_plaintext_auth": True}
        async with aio.POP3Client("127.0.0.1", port, tls=sync.TLSPolicy.NONE, **login) as pop:
            report = await pop.fetch_new(ledger, make_store(loop), KeepPolicy(keep=False))
        assert list(ledger.notes) == ["one", "two"]
        return report

    return asyncio.run(main())


def test_a_ledger_and_a_store_that_block_do_not_block_the_loop(port: int) -> None:
    stored: list[bytes] = []

    def make_store(loop: asyncio.AbstractEventLoop) -> Any:
        def store(note: Note, content: Any) -> None:
            wait_for(loop)
            stored.append(b"".join(content))

        return store

    assert fetch(port, make_store).deleted == [1, 2]
    assert stored == [b"abc\r\n"] * 2


def test_a_store_may_be_a_coroutine_function(port: int) -> None:
    stored: list[bytes] = []

    def make_store(loop: asyncio.AbstractEventLoop) -> Any:
        async def store(note: Note, content: Any) -> None:
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            stored.append(b"".join(content))

        return store

    assert fetch(port, make_store).deleted == [1, 2]
    assert stored == [b"abc\r\n"] * 2


def test_what_a_store_raises_comes_out(port: int) -> None:
    def full(note: Note, content: Any) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fetch(port, lambda _: full)
