"""A queue of messages on disk: what it has taken is there after a crash, whenever that comes.

Two files make an entry, the message in ``messages`` and what is to be done with it in ``entries``. Each is written
elsewhere and put into its place whole. An entry is there from the moment its second file is, the one in ``entries``,
until that is removed; what a crash leaves without it is nobody's, and swept away.

What cannot be read, or where a disk fails not at the third time either, is moved from ``entries`` to ``unreadable``
and tried no more, until somebody has mended it and moves it back. Its message, or what there is of it, stays in
``messages``. What an operator has ordered for entries is in ``orders``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from mailproto._core.checks import check_path
from mailproto._core.system import require_posix
from mailproto.errors import GrammarError, MailProtoError
from mailproto.maildrop.base import MaildropBusyError
from mailproto.maildrop.durable import fsync_directory, make_directory, write_durably
from mailproto.maildrop.lock import SessionLock
from mailproto.relay.entry import Entry, check_name, decode_entry, encode_entry, is_name
from mailproto.relay.orders import Orders
from mailproto.relay.unreadable import UnreadableError, open_whole, reading

logger = logging.getLogger("mailproto")

_STALE_AFTER = 36 * 3600  # seconds; a message that took longer to come died long ago


def new_name() -> str:
    """Return a name for an entry that no other one has. Names sort by time."""
    return f"{time.time_ns():016x}{secrets.token_hex(6)}"


class QueueInUseError(MailProtoError):
    """Another relay works the queue off: two at once would send everything twice."""


class Queue:
    """A queue in a directory. Any number of threads and processes may add to it; one `Relay` works it off.

    Attributes:
        orders: what is to be done with entries at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Use the queue at ``path``; what is missing of it is created with mode 0700.

        Raises:
            NotSupportedError: the system is not POSIX: it has no lock that ends with a relay that dies.
            GrammarError: the path is empty.
            OSError: a directory could not be created.
        """
        check_path(path)
        require_posix("a queue")
        self.path = Path(path)
        for folder in ("tmp", "messages", "entries", "unreadable"):
            make_directory(self.path / folder)
        self.orders = Orders(self.path / "orders")

    def __repr__(self) -> str:
        return f"Queue({str(self.path)!r})"

    def add(self, entry: Entry, content: Iterable[bytes]) -> None:
        """Take a message. When this returns it is on disk, and its sender may forget it.

        Raises:
            OSError: nothing was taken.
            GrammarError: the entry has a name that is none, or parameters that cannot be written.
            NotSupportedError: it has parameters that a relay has no way to honour.
        """
        check_name(entry.name)
        encode_entry(entry)  # so that it raises before anything is written
        try:
            size = self._place("messages", entry.name, content)
            self._place("entries", entry.name, (encode_entry(replace(entry, size=size)),))
        except BaseException:
            with contextlib.suppress(OSError):  # what is left then the next relay sweeps away
                self.remove(entry.name)
            raise

    def save(self, entry: Entry) -> None:
        """Note what has become of an entry: it is changed on disk, or gone if nothing is left to be done."""
        if entry.recipients:
            self._place("entries", entry.name, (encode_entry(entry),))
        else:
            self.remove(entry.name)

    def remove(self, name: str) -> None:
        """Remove an entry, also one that is set aside, and its message, in this order, so that no crash leaves an
        entry without one. While a relay runs this is for it alone; others give it an order."""
        for folder in ("entries", "unreadable"):
            with contextlib.suppress(FileNotFoundError):
                (self.path / folder / name).unlink()
                fsync_directory(self.path / folder)
        (self.path / "messages" / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all entries, the oldest first."""
        return self._names_in("entries")

    def unreadable(self) -> list[str]:
        """Return the names of the entries that are set aside, the oldest first."""
        return self._names_in("unreadable")

    def load(self, name: str) -> Entry | None:
        """Return an entry; None if it is gone.

        Raises:
            UnreadableError: it cannot be read, or is none.
        """
        path = self.path / "entries" / name
        try:
            with reading(path), contextlib.suppress(FileNotFoundError):
                return decode_entry(name, path.read_bytes())
        except GrammarError as error:
            raise UnreadableError(str(error)) from error
        return None

    def open(self, name: str, size: int | None = None) -> BinaryIO:
        """Open the message of an entry to read. The ``size`` is the entry's.

        Raises:
            UnreadableError: it cannot be read, or has another size; what is read of it later raises this, too.
        """
        return open_whole(self.path / "messages" / name, size)

    def set_aside(self, name: str, reason: UnreadableError) -> None:
        """Take an entry out of the queue that cannot be read, with a line in the log, which is the only one."""
        (self.path / "entries" / name).rename(self.path / "unreadable" / name)
        for folder in ("unreadable", "entries"):
            fsync_directory(self.path / folder)
        logger.error("%s was set aside in %s until somebody sees to it: %s", name, self.path / "unreadable", reason)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Be the one that works the queue off, for the time of a ``with`` block.

        Raises:
            QueueInUseError: another one does.
        """
        try:
            lock = SessionLock(self.path / "lock")
        except MaildropBusyError:
            raise QueueInUseError("another relay works this queue off") from None
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _names_in(self, folder: str) -> list[str]:
        """Return the names of entries in a folder, where there may be other files, such as an editor's ``m1~``."""
        return sorted(path.name for path in (self.path / folder).iterdir() if is_name(path.name))

    def _place(self, folder: str, name: str, content: Iterable[bytes]) -> int:
        """Put a file into its place, whole, in place of an older one; return its size in octets."""
        draft = self.path / "tmp" / f"{folder}-{name}"
        with write_durably(draft, replace=True) as file:
            size = sum(map(file.write, content))
        try:
            draft.rename(self.path / folder / name)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        fsync_directory(self.path / folder)
        return size

    def _sweep(self) -> None:
        """Remove what belongs to no entry, unless it is of one that is still coming."""
        oldest = time.time() - _STALE_AFTER
        aside = self.unreadable()  # first: from there they are moved back
        known = {self.path / "messages" / name for name in (*aside, *self.names())}
        for path in (*self.path.glob("tmp/*"), *self.path.glob("messages/*")):
            with contextlib.suppress(OSError):
                if path not in known and path.stat().st_mtime < oldest:
                    path.unlink()
