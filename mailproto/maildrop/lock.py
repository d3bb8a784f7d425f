"""The exclusive lock of a session on a directory (RFC 1939 section 4), between threads and between processes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mailproto.maildrop.base import MaildropBusyError

with suppress(ImportError):  # whose systems are to have the other maildrops nevertheless
    import fcntl

_held: dict[tuple[int, str], SessionLock] = {}


class SessionLock:
    """Holds the lock from its making until `release`.

    It is an ``flock`` on a file that is never removed, so it ends with the process that holds it, however that
    ends. Where the system builds ``flock`` from ``fcntl`` locks, which a process cannot hold against itself, a
    table in memory keeps the threads apart.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock on the file ``path``, which is created if missing.

        Raises:
            MaildropBusyError: another session has it.
        """
        # The process is part of the key because a fork inherits the table, but not the sessions in it.
        self._key = (os.getpid(), os.path.realpath(path))
        if _held.setdefault(self._key, self) is not self:
            raise MaildropBusyError
        try:
            self._descriptor = _flock(path)
        except BaseException:
            del _held[self._key]
            raise

    def release(self) -> None:
        """Let the next session in. To be called once."""
        try:
            # Unlocked and not only closed, because a forked child may hold a copy of the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            try:
                os.close(self._descriptor)
            finally:
                del _held[self._key]


def _flock(path: Path) -> int:
    """Return a descriptor of the file, exclusively locked; raise `MaildropBusyError` rather than wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise MaildropBusyError from error
        raise
    return descriptor
