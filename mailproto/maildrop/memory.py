"""A maildrop in memory: for tests, for examples, and for servers whose mail may go with the process."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence

from mailproto.maildrop.base import BLOCK, LockedSnapshot, MaildropBusyError, canonical
from mailproto.pop3.snapshot import MessageInfo


class MemoryMaildrop:
    """Keeps its messages in memory. Any number of threads may deliver at once."""

    def __init__(self) -> None:
        # A client remembers unique-ids longer than this process lives, so none may come again in the next.
        self._origin = secrets.token_hex(8)
        self._counter = itertools.count(1)
        self._contents: dict[str, bytes] = {}
        self._contents_lock = threading.Lock()
        self._session_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<MemoryMaildrop of {len(self._contents)} messages>"

    def deliver(self, content: Iterable[bytes]) -> str:
        """Store a message and return its unique-id. A bare CR or LF becomes CRLF."""
        message = b"".join(canonical(content))
        with self._contents_lock:
            uid = f"{self._origin}.{next(self._counter)}"
            self._contents[uid] = message
        return uid

    def open(self) -> MemorySnapshot:
        """Lock the maildrop for one session and return what is in it now.

        Raises:
            MaildropBusyError: another session has it open.
        """
        if not self._session_lock.acquire(blocking=False):
            raise MaildropBusyError
        return MemorySnapshot(self, self._session_lock)

    def _contents_now(self) -> dict[str, bytes]:
        with self._contents_lock:
            return dict(self._contents)

    def _remove(self, uids: Iterable[str]) -> None:
        with self._contents_lock:
            for uid in uids:
                self._contents.pop(uid, None)


class MemorySnapshot(LockedSnapshot):
    """A session with a `MemoryMaildrop`."""

    def __init__(self, maildrop: MemoryMaildrop, lock: threading.Lock) -> None:
        contents = maildrop._contents_now()
        super().__init__((MessageInfo(len(content), uid) for uid, content in contents.items()), lock.release)
        self._maildrop = maildrop
        self._contents = list(contents.values())

    def retrieve(self, number: int) -> Iterator[bytes]:
        """Return the content of message ``number`` (from 1), in pieces."""
        content = self._contents[self._index(number)]
        return (content[start : start + BLOCK] for start in range(0, len(content), BLOCK))

    def commit(self, deleted: Sequence[int]) -> None:
        """Remove the messages with these numbers, for good."""
        indexes = [self._index(number) for number in deleted]
        self._maildrop._remove(self._messages[index].uid for index in indexes)
