"""Read-only maildrops: what is in them can be fetched, and nothing about them changes.

A session over one takes no lock that keeps others out, and leaves no trace; several can be open at once, beside one
that writes. What that one deletes is gone from the others as if another program had removed it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

from mailproto.errors import Reject
from mailproto.maildrop.base import Maildrop
from mailproto.maildrop.maildir import Maildir
from mailproto.maildrop.maildir_snapshot import MaildirSnapshot
from mailproto.maildrop.memory import MemoryMaildrop, MemorySnapshot
from mailproto.maildrop.sizes import SizeCache
from mailproto.pop3.snapshot import MessageInfo, Snapshot


class ReadOnlyError(Reject):
    """The maildrop may be read, not changed. Over POP3: ``-ERR [SYS/PERM]``."""

    def __init__(self) -> None:
        super().__init__(550, "the maildrop is read-only, nothing was deleted", "SYS/PERM")


@runtime_checkable
class OpensReadOnly(Protocol):
    """A maildrop of your own that knows how to be opened without a lock and without a trace."""

    def open_read_only(self) -> Snapshot:
        """Return what is in the maildrop now."""


class ReadOnly:
    """A maildrop that nobody can change through this object.

    Maildrops of this library, and those that are `OpensReadOnly`, are opened without a trace; of any other the
    session is its own, locks and all, but that nothing can be deleted.
    """

    def __init__(self, drop: Maildrop) -> None:
        self._drop = drop
        self._counted: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"ReadOnly({self._drop!r})"

    def deliver(self, content: Iterable[bytes]) -> NoReturn:
        """Refuse the message.

        Raises:
            ReadOnlyError: always.
        """
        del content  # unread
        raise ReadOnlyError

    def open(self) -> ReadOnlySnapshot:
        """Return what is in the maildrop now.

        Raises:
            MaildropBusyError: it cannot be opened without a lock, and somebody else has that.
        """
        return ReadOnlySnapshot(_open(self._drop, self._counted))


class ReadOnlySnapshot:
    """A session that can fetch messages and delete none: each DELE is refused, and the commit of any."""

    read_only = True

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"ReadOnlySnapshot({self._snapshot!r})"

    @property
    def messages(self) -> Sequence[MessageInfo]:
        """The messages in their order; message number 1 of the session is ``messages[0]``."""
        return self._snapshot.messages

    def retrieve(self, number: int) -> Iterator[bytes] | Awaitable[Iterator[bytes]]:
        """Return the content of message ``number`` (from 1), in pieces."""
        return self._snapshot.retrieve(number)

    def commit(self, deleted: Sequence[int]) -> None:
        """Do nothing, if nothing is to be deleted.

        Raises:
            ReadOnlyError: something is.
        """
        if deleted:
            raise ReadOnlyError

    def close(self) -> Awaitable[None] | None:
        """End the session."""
        return self._snapshot.close()


def _open(drop: Maildrop, counted: dict[str, object]) -> Snapshot:
    match drop:
        case OpensReadOnly():
            return drop.open_read_only()
        case Maildir():
            return _UntouchedMaildir(drop.path, counted)
        case MemoryMaildrop():
            lock = threading.Lock()
            lock.acquire()
            return MemorySnapshot(drop, lock)
    return drop.open()


class _KnownSizes(SizeCache):
    """The sizes that are known already. What is counted anew is kept in memory, for the sessions to come.

    A message whose name tells its size wrong could be fetched in none of them otherwise.
    """

    def __init__(self, path: Path, counted: dict[str, object]) -> None:
        super().__init__(path)
        self._counted = counted
        self._entries |= counted

    def record(self, base: str, status: os.stat_result, size: int) -> None:
        """Remember that the file with this base and ``status`` has ``size`` octets as sent."""
        super().record(base, status, size)
        self._counted[base] = self._entries[base]

    def save(self, bases: Iterable[str]) -> None:
        """Write nothing, and forget all but these ``bases``, or what is counted would be more from day to day."""
        for base in self._counted.keys() - set(bases):
            self._counted.pop(base, None)  # another session may have been first


class _UntouchedMaildir(MaildirSnapshot):
    def __init__(self, root: Path, counted: dict[str, object]) -> None:
        self._known = _KnownSizes(root / "mailproto-sizes", counted)
        super().__init__(root, _nothing)

    def _part_namesakes(self) -> None:
        """Leave them as they are: of two, one is shown."""

    def _measure_all(self) -> dict[str, int]:
        self._sizes = self._known
        return super()._measure_all()


def _nothing() -> None:
    """Release the lock that was not taken."""
