"""The lock that mail programs take on an mbox file, and the file while it is locked.

Two locks in this order, both or none: the ``fcntl`` lock on the file, and then the dot-lock, a file of the same
name with ``.lock`` at its end. Programs differ in which of the two they know, and in the order; so none is waited
for while the other is held, and whoever gets one without the other gives it back and tries again. To read without
leaving a trace the ``fcntl`` lock alone is taken, shared.

A dot-lock outlives its process. It is broken when it names a process of this machine that is gone, or when for
five minutes neither it nor the mbox has changed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailproto.maildrop.base import BLOCK
from mailproto.maildrop.mbox_format import MAX_SEPARATOR, MboxFormatError, is_separator

with suppress(ImportError):
    import fcntl

logger = logging.getLogger("mailproto")

_STALE_AFTER = 300.0  # seconds, as in other programs
_LONGEST_PAUSE = 0.02
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OWNER = re.compile(r"([1-9][0-9]{0,9}):([^\n]*)")
_held: set[Path] = set()
"""The dot-locks of this process: a dot-lock with its number that is not one of them is left from an earlier life."""


class LockedMbox:
    """An mbox file, locked: nobody who keeps to the locks changes it now."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @property
    def size(self) -> int:
        """The octets of the file."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` octets from ``start`` on, fewer only at the end of the file."""
        text = os.pread(self.descriptor, size, start)
        while 0 < len(text) < size and (more := os.pread(self.descriptor, size - len(text), start + len(text))):
            text += more  # a system may read less than it was asked to
        return text

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """Yield what stands from ``start`` to ``end``, in blocks."""
        return (self.read(at, min(BLOCK, end - at)) for at in range(start, end, BLOCK))

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when the file does: device, inode, size, and times in nanoseconds."""
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def check_format(self) -> None:
        """Raise `MboxFormatError` unless the file is empty or begins with a message, behind empty lines if need be.

        Those are left when all messages behind them are removed.
        """
        beginning = self.read(0, 2 * MAX_SEPARATOR).lstrip(b"\r\n")
        if (beginning or self.size > 2 * MAX_SEPARATOR) and not is_separator(beginning):
            raise MboxFormatError(f"{self.path} is not an mbox")

    def write(self, start: int, pieces: Iterable[bytes]) -> None:
        """Write ``pieces``, one behind the other, from ``start`` on. They are not on disk yet."""
        with os.fdopen(os.dup(self.descriptor), "wb") as file:
            file.seek(start)
            file.writelines(pieces)


def beside(path: Path, purpose: str) -> Path:
    """Return the path of a file of our own beside an mbox. A dot begins its name: it is no mailbox to anybody."""
    return path.with_name(f".{path.name}.mailproto-{purpose}")


@contextmanager
def locked(path: Path, timeout: float, *, to_read: bool = False) -> Iterator[LockedMbox]:
    """Hold the locks of the mbox at ``path``, which is created if missing; ``to_read`` changes nothing at all.

    Raises:
        TimeoutError: other programs held them for ``timeout`` seconds.
        OSError: the file cannot be opened, or no dot-lock can be made beside it.
    """
    box = _wait(path, timeout, to_read)
    try:
        yield box
    finally:
        try:
            if not to_read:
                _remove_dot_lock(path)
        finally:  # though that was interrupted
            _close(box.descriptor)


def _wait(path: Path, timeout: float, to_read: bool) -> LockedMbox:
    deadline = time.monotonic() + timeout
    pause = 0.001
    while (box := _try(path, to_read)) is None:
        if time.monotonic() + pause > deadline:
            raise TimeoutError(f"{path} was locked by another program for {timeout:g} seconds")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return box


def _try(path: Path, to_read: bool) -> LockedMbox | None:
    flags = os.O_RDONLY if to_read else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    alone = False
    try:
        alone = _lock_file(descriptor, shared=to_read) and _is_at(descriptor, path)
        if alone and (to_read or _make_dot_lock(path)):
            return LockedMbox(path, descriptor)
    except BaseException:
        try:
            if alone and _dot_lock_of(path) in _held:  # which was made, and then came an interrupt
                _remove_dot_lock(path)
        finally:
            _close(descriptor)
        raise
    _close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether this file is still the one at ``path``: who had the lock before may have put another there."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def _lock_file(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock on an open file that ``fcntl`` locks of other programs respect; return whether that succeeded."""
    try:
        _set_lock(descriptor, shared=shared)
    except (BlockingIOError, PermissionError):  # POSIX leaves the choice between EAGAIN and EACCES
        return False
    return True


def _close(descriptor: int) -> None:
    # Unlocked and not only closed, because a forked child may hold a copy of the descriptor.
    try:
        with suppress(OSError):
            _set_lock(descriptor, release=True)
    finally:
        with suppress(OSError):  # it is closed all the same, and what was written was waited for
            os.close(descriptor)


def _set_lock(descriptor: int, *, shared: bool = False, release: bool = False) -> None:
    """Change the lock on an open file.

    It belongs to the open file, not to the process, so threads keep each other out as well. Where there is no
    ``fcntl`` lock of that kind, which is on BSD systems, an ``flock`` does the same.
    """
    if sys.platform == "linux":
        kind = fcntl.F_UNLCK if release else fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0))
    else:
        kind = fcntl.LOCK_UN if release else fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)


# The dot-lock. Of our own processes only the one that has the lock on the file comes here.


def _dot_lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _make_dot_lock(path: Path) -> bool:
    """Make the dot-lock, unless it is there and good; return whether it is ours.

    It gets its place with its content, in one step: a lock that names nobody could not be broken at once.
    """
    dot_lock, draft = _dot_lock_of(path), beside(path, "dot")
    for _ in range(2):
        draft.unlink(missing_ok=True)
        try:
            _name_owner(draft)
            os.link(draft, dot_lock)
        except FileExistsError:
            if not _is_stale(dot_lock, path):
                return False
            dot_lock.unlink(missing_ok=True)
        else:
            _held.add(dot_lock)
            return True
        finally:
            with suppress(OSError):  # the next one to make a dot-lock removes it, or is told why not
                draft.unlink(missing_ok=True)
    return False


def _name_owner(draft: Path) -> None:
    """Make a file that names this process; an empty one where the disk is full.

    Who has no room any more has to get at his mail to delete it.
    """
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, f"{os.getpid()}:{socket.gethostname()}".encode())
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
    finally:
        os.close(descriptor)


def _is_stale(dot_lock: Path, path: Path) -> bool:
    try:
        with dot_lock.open(encoding="utf-8", errors="replace") as file:
            owner = _OWNER.fullmatch(file.read(300))
        changed = max(dot_lock.stat().st_mtime, path.stat().st_mtime)
    except FileNotFoundError:
        return True
    if owner and owner[2] == socket.gethostname() and not _is_alive(int(owner[1]), dot_lock):
        return True
    return time.time() - changed > _STALE_AFTER


def _is_alive(process: int, dot_lock: Path) -> bool:
    if process == os.getpid():
        return dot_lock in _held
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True


def _remove_dot_lock(path: Path) -> None:
    """Remove the dot-lock. If that fails, what was done under it is done all the same, and nobody is to do it again.

    This process breaks what is left there the next time, and others when it is old.
    """
    dot_lock = _dot_lock_of(path)
    _held.discard(dot_lock)
    try:
        dot_lock.unlink(missing_ok=True)
    except OSError as error:
        logger.error("a dot-lock could not be removed: %s", error)
