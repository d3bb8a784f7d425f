"""Maildir: a directory for each user, a file for each message, shared with any other program that knows the format.

Files are stored as mail programs on Unix store them, with LF line ends; their names tell the size in both forms.
A delivery is on disk, file and directory entry, before it is acknowledged. No lock is needed to deliver or to
read; POP3's exclusive lock keeps out other sessions of this library alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mailproto._core.checks import check_path
from mailproto._core.system import require_posix
from mailproto.errors import GrammarError
from mailproto.maildrop.base import canonical
from mailproto.maildrop.durable import fsync_directory, make_directory, write_durably
from mailproto.maildrop.lock import SessionLock
from mailproto.maildrop.maildir_snapshot import MaildirSnapshot
from mailproto.maildrop.names import is_safe_name, new_base, unique_id

_STALE_AFTER = 36 * 3600  # seconds; a delivery that took longer died long ago, says the Maildir page


class Maildir:
    """One Maildir. Any number of threads and processes may deliver to it at once.

    Not part of the mail are two files of its own beside ``tmp``, ``new`` and ``cur``: ``mailproto-lock`` and
    ``mailproto-sizes``. No dot begins their names because that is how Maildir++ marks folders.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Use the Maildir at ``path``; what is missing of it is created with mode 0700.

        Raises:
            NotSupportedError: the system is not POSIX: its files cannot have the names that Maildir needs.
            GrammarError: the path is empty.
            OSError: a directory could not be created.
        """
        check_path(path)
        require_posix("a Maildir")
        self.path = Path(path)
        for folder in ("tmp", "cur", "new"):
            make_directory(self.path / folder)

    def __repr__(self) -> str:
        return f"Maildir({str(self.path)!r})"

    def deliver(self, content: Iterable[bytes], *, name: str | None = None) -> str:
        """Store a message, and return its unique-id when the file and its directory entry are on disk.

        ``content`` comes in pieces cut anywhere, its lines ending in CRLF. A bare CR or LF becomes CRLF; every
        other octet comes back as it was given.

        Args:
            name: what the file's name is to begin with, and no other message's ever has, in place of a name that is
                made here. The same message delivered again under it takes the place of the first, if that is new.

        Raises:
            OSError: nothing was stored.
        """
        base = new_base()
        draft = self.path / "tmp" / base
        with write_durably(draft) as file:
            base = (base if name is None else name) + _store(content, file)
        placed = draft
        try:
            placed = draft.rename(self.path / "new" / base)
            fsync_directory(placed.parent)
        except BaseException:
            placed.unlink(missing_ok=True)
            raise
        return unique_id(base)

    def open(self) -> MaildirSnapshot:
        """Lock the Maildir for one session and return what is in it now.

        Where two files have the same base, as when a copy of the Maildir was put back, one of them gets another. What
        cannot be read and does not tell its size is left out, and logged.

        Raises:
            MaildropBusyError: another session has it open.
            OSError: the Maildir cannot be read.
        """
        lock = SessionLock(self.path / "mailproto-lock")
        try:
            self._remove_stale_drafts()
            return MaildirSnapshot(self.path, lock.release)
        except BaseException:
            lock.release()
            raise

    def _remove_stale_drafts(self) -> None:
        """Remove what deliveries left in ``tmp`` that died more than 36 hours ago."""
        oldest = time.time() - _STALE_AFTER
        with os.scandir(self.path / "tmp") as drafts:
            for draft in drafts:
                with contextlib.suppress(OSError):
                    status = draft.stat(follow_symlinks=False)
                    if max(status.st_atime, status.st_mtime) < oldest:
                        Path(draft.path).unlink()


class MaildirRoot:
    """A directory that holds a Maildir for each user, under the user's name.

    Raises:
        GrammarError: the path is empty.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_path(path)
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"MaildirRoot({str(self.path)!r})"

    def maildir(self, user: str) -> Maildir:
        """Return the Maildir of ``user``, created if missing.

        Raises:
            GrammarError: the name may not name a directory; see `is_safe_name`.
        """
        if not is_safe_name(user):
            raise GrammarError("not a name for a Maildir")
        return Maildir(self.path / user)


def _store(content: Iterable[bytes], file: BinaryIO) -> str:
    """Write a message with LF line ends, and return the part of its name that tells both sizes."""
    sent = 0
    for piece in canonical(content):
        sent += len(piece)
        file.write(piece.replace(b"\r", b""))  # canonical: every CR is half of a CRLF, even where a piece cuts it
    return f",S={file.tell()},W={sent}"
