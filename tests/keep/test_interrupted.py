"""A maildrop of 5,000 messages, fetched by a process that is killed at random, again and again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailproto import sync
from mailproto.ledger import SQLiteLedger
from mailproto.pop3 import Limits, MessageInfo, POP3ServerConfig

COUNT = 5_000
KILLS = 6


class Many:
    """A maildrop of many small messages."""

    messages = tuple(MessageInfo(len(f"Message {number:05}\r\n"), f"uid{number}") for number in range(COUNT))

    def retrieve(self, number: int) -> Iterator[bytes]:
        return iter((f"Message {number - 1:05}\r\n".encode(),))

    def commit(self, deleted: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Host:
    """The hooks of the server."""

    def on_auth(self, session: Any, check: object) -> bool:
        return True

    def on_login(self, session: Any) -> Many:
        return Many()


def stored(maildir: Path) -> list[bytes]:
    """Return what is in the Maildir."""
    return sorted(path.read_bytes() for path in maildir.glob("[cn]*/*.mailproto,*"))


def test_killed_at_random_nothing_is_lost_and_nothing_double(memory_path: Path) -> None:
    maildir, ledger = memory_path / "maildir", memory_path / "ledger"
    config = POP3ServerConfig(allow_plaintext_auth=True, limits=Limits(max_commands=10**9))
    chance = random.Random(1)
    with sync.POP3Server(Host(), port=0, config=config) as server:
        command = [sys.executable, "-m", "tests.keep.fetching", str(server.port), str(maildir), str(ledger)]
        before, new = 0, maildir / "new"
        for _ in range(KILLS):
            process = subprocess.Popen(command)
            enough = before + chance.randrange(1, 200)
            while not new.exists() or sum(1 for _ in new.iterdir()) < enough:
                time.sleep(0.002)
            process.kill()
            process.wait()
            here = stored(maildir)
            assert len(set(here)) == len(here), "a message is there twice"
            assert before < len(here) < COUNT, "it was killed in the middle, and went on from where it was"
            before = len(here)
        subprocess.run(command, check=True)
    assert stored(maildir) == [f"Message {number:05}\n".encode() for number in range(COUNT)]
    with SQLiteLedger(ledger, "ada@here") as notes:
        assert sum(note.stored for note in notes.read().values()) == COUNT
