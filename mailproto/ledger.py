"""Fetch and keep, on disk: the ledger in SQLite, and the Maildir in which every message is found once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from mailproto._core.checks import check_path
from mailproto.errors import MailProtoError
from mailproto.maildrop import Maildir
from mailproto.pop3.flows.keep import Note

__all__ = ["LedgerInUseError", "MaildirStore", "SQLiteLedger"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    first_seen REAL NOT NULL,
    sha256 TEXT NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (account, key)
) WITHOUT ROWID
"""
_SELECT = "SELECT key, first_seen, sha256, stored, deleted FROM notes"
_BUSY_TIMEOUT = 30.0  # seconds to wait for another process that is writing


class LedgerInUseError(MailProtoError):
    """Another run works on the same account: two at once would fetch everything twice."""


class SQLiteLedger:
    """The notes of one account, in a file that other accounts, processes and threads may use at the same time.

    Every note is on disk when its method returns. Who has the ledger of an account open has it alone; an empty
    file beside the ledger, which stays, is locked for that as long as the process lives or until `close`.

    Args:
        path: the file, which is made with mode 0600 if it is missing; ``":memory:"`` for one that is forgotten.
        account: whose maildrop it is, and on which server: ``ada@pop.example.org``, say. Unique-ids of different
            maildrops have nothing to do with each other.

    Raises:
        LedgerInUseError: somebody else has the ledger of this account open.
        GrammarError: the path is empty, which is a database to SQLite, and one that it forgets.
    """

    def __init__(self, path: str | os.PathLike[str], account: str) -> None:
        check_path(path)
        self._account = account
        self._lock = threading.Lock()
        self._alone = _lock_account(path, account)
        try:
            self._database = _open(path)
        except BaseException:
            self._unlock_account()
            raise

    def read(self) -> dict[str, Note]:
        """Return all notes, by key."""
        with self._lock:
            rows = self._database.execute(f"{_SELECT} WHERE account = ?", (self._account,)).fetchall()
        notes = map(_note, rows)
        return {note.key: note for note in notes}

    def begin(self, key: str, now: float, sha256: str) -> Note:
        """Note that a message is about to be stored, and return the note, or the older one if there is one."""
        with self._lock:
            self._database.execute(
                "INSERT OR IGNORE INTO notes (account, key, first_seen, sha256) VALUES (?, ?, ?, ?)",
                (self._account, key, now, sha256),
            )
            row = self._database.execute(f"{_SELECT} WHERE account = ? AND key = ?", (self._account, key)).fetchone()
        return _note(row)

    def finish(self, key: str) -> None:
        """Note that a message is stored, and on the server still."""
        self._execute_all("UPDATE notes SET stored = 1, deleted = 0 WHERE account = ? AND key = ?", [key])

    def mark_deleted(self, keys: Sequence[str]) -> None:
        """Note that the server is told to delete these messages."""
        self._execute_all("UPDATE notes SET deleted = 1 WHERE account = ? AND key = ?", keys)

    def forget(self, keys: Sequence[str]) -> None:
        """Drop these notes."""
        self._execute_all("DELETE FROM notes WHERE account = ? AND key = ?", keys)

    def _execute_all(self, statement: str, keys: Sequence[str]) -> None:
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, [(self._account, key) for key in keys])

    def close(self) -> None:
        """Close the file, and let the next run begin. What another thread is about to note is waited for."""
        try:
            with self._lock:  # SQLite closed under a thread that is in it takes the process along
                self._database.close()
        finally:
            self._unlock_account()

    def _unlock_account(self) -> None:
        if self._alone is not None:
            self._alone.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _note(row: tuple[str, float, str, int, int]) -> Note:
    key, first_seen, sha256, stored, deleted = row
    return Note(key, first_seen, sha256, bool(stored), bool(deleted))


def _open(path: str | os.PathLike[str]) -> sqlite3.Connection:
    if os.fspath(path) != ":memory:":  # SQLite would make a file that everybody may read
        with suppress(FileExistsError):  # to open and close one that is there would break the locks of this process
            os.close(os.open(os.path.realpath(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA synchronous = FULL")
        database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _lock_account(path: str | os.PathLike[str], account: str) -> sqlite3.Connection | None:
    """Return what has to stay open as long as the account is ours: an empty database, locked.

    The lock is SQLite's for the sake of systems with other locks than Unix; it ends with the process.
    """
    if os.fspath(path) == ":memory:":
        return None
    name = f"{os.path.realpath(path)}.{hashlib.sha256(account.encode()).hexdigest()[:16]}.lock"
    database = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("BEGIN EXCLUSIVE")
    except BaseException as error:  # an interrupt as well: what is dropped open stays locked until it is collected
        database.close()
        if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise LedgerInUseError(f"another run is fetching the mail of {account}") from None
        raise
    return database


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
        digest = hashlib.sha256(f"{self._account}\n{note.key}\n{note.sha256}".encode()).hexdigest()[:40]
        name = f"{int(note.first_seen)}.F{digest}.mailproto"
        if name not in self._there:
            self._maildir.deliver(content, name=name)
            self._there.add(name)
