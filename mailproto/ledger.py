"""Fetch and keep, on disk: the ledger in SQLite, and the Maildir in which every message is found once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from mailproto.maildrop import Maildir
from mailproto.pop3.flows.keep import Note

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    first_seen REAL NOT NULL,
    stored INTEGER NOT NULL,
    deleted_size INTEGER,
    PRIMARY KEY (account, key)
) WITHOUT ROWID
"""
_BUSY_TIMEOUT = 30.0  # seconds to wait for another process that is writing


class SQLiteLedger:
    """The notes of one account, in a file that other accounts, processes and threads may use at the same time.

    Every note is on disk when its method returns.

    Args:
        path: the file, which is made if it is missing.
        account: whose maildrop it is, and on which server: ``ada@pop.example.org``, say. Unique-ids of different
            maildrops have nothing to do with each other.
    """

    def __init__(self, path: str | os.PathLike[str], account: str) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(_SCHEMA)

    def read(self) -> dict[str, Note]:
        """Return all notes, by key."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key, first_seen, stored, deleted_size FROM notes WHERE account = ?", (self._account,)
            ).fetchall()
        return {key: Note(key, first_seen, bool(stored), size) for key, first_seen, stored, size in rows}

    def begin(self, key: str, now: float) -> Note:
        """Note that a message is about to be stored, and return the note, or the older one if there is one."""
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO notes VALUES (?, ?, ?, 0, NULL)", (self._account, key, now))
            first_seen, stored, size = self._database.execute(
                "SELECT first_seen, stored, deleted_size FROM notes WHERE account = ? AND key = ?",
                (self._account, key),
            ).fetchone()
        return Note(key, first_seen, bool(stored), size)

    def finish(self, key: str) -> None:
        """Note that a message is stored."""
        with self._lock:
            self._database.execute("UPDATE notes SET stored = 1 WHERE account = ? AND key = ?", (self._account, key))

    def mark_deleted(self, sizes: Mapping[str, int]) -> None:
        """Note that the server is told to delete these messages, whose octets as listed are the values."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "UPDATE notes SET deleted_size = ? WHERE account = ? AND key = ?",
                [(size, self._account, key) for key, size in sizes.items()],
            )

    def forget(self, keys: Sequence[str]) -> None:
        """Drop these notes."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "DELETE FROM notes WHERE account = ? AND key = ?", [(self._account, key) for key in keys]
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class MaildirStore:
    """Stores what `fetch_and_keep` fetches in a Maildir, each message once, under a name that its note decides.

    Args:
        maildir: where.
        account: as in `SQLiteLedger`; messages of several accounts may go to one Maildir.
    """

    def __init__(self, maildir: Maildir, account: str) -> None:
        self._maildir = maildir
        self._account = account
        # Readers may have moved a message since, so that to deliver it again would not replace it.
        self._there = {path.name.partition(",")[0] for path in maildir.path.glob("[cn]*/*.F*.mailproto,*")}

    def __call__(self, note: Note, content: Iterable[bytes]) -> None:
        """Store a message, unless it is there already."""
        digest = hashlib.sha256(f"{self._account}\n{note.key}".encode()).hexdigest()[:40]
        name = f"{int(note.first_seen)}.F{digest}.mailproto"
        if name not in self._there:
            self._maildir.deliver(content, name=name)
            self._there.add(name)
