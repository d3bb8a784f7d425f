"""mbox: all messages of a user in one file, shared with any other program that knows the format and the locks.

It is the format of RFC 4155, with the quoting of mboxrd, which can be undone, and LF line ends. Standard Python has
a reader and writer of mailboxes for programs that manage them. A server's maildrop needs other things: sizes as
sent and lasting unique-ids without a message being read at login, locks that are held for moments while a session
lasts for hours, deliveries beside it, and a file that is whole after a crash at any step.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mailproto._core.checks import check_amount, check_path
from mailproto._core.spool import Spool
from mailproto._core.system import require_posix
from mailproto.maildrop.base import MaildropBusyError, canonical
from mailproto.maildrop.durable import make_directory
from mailproto.maildrop.lock import SessionLock
from mailproto.maildrop.mbox_append import append, find_torn, note_beside
from mailproto.maildrop.mbox_format import Quoter, sender_of, separator, unique_id_line
from mailproto.maildrop.mbox_index import MboxIndex, load_index, read_index, save_index
from mailproto.maildrop.mbox_lock import LockedMbox, beside, locked
from mailproto.maildrop.mbox_rewrite import Edit, pending, recover, replace
from mailproto.maildrop.mbox_snapshot import MboxSnapshot

_BEGINNING = 16384  # octets of a message in which its Return-Path is looked for


class Mbox:
    """One mbox file. Any number of threads and processes may deliver to it at once.

    It is locked as `mailproto.maildrop.mbox_lock` says, never for longer than it takes to read or write it, and
    always stays the same file: a program that opened it and waits for the lock finds in it what everybody does.

    Not part of the mail are files of its own in the same directory, whose names begin with ``.NAME.mailproto-``.
    The directory has to be one in which others cannot create files in its owner's place.

    A message delivered here gets its unique-id in a field ``X-UIDL`` in front of its header, which a session does
    not show, and readers do; it also says when the last line has no end.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = 30.0) -> None:
        """Use the mbox at ``path``, a link resolved; file and directories are created where they are missing.

        Args:
            lock_timeout: seconds to wait for other programs that have it locked.

        Raises:
            NotSupportedError: the system is not POSIX, and knows none of the locks.
            GrammarError: the path is empty, or the time negative.
            OSError: a directory could not be created.
        """
        check_path(path)
        require_posix("an mbox")
        self.path = Path(os.path.realpath(path))
        check_amount("lock_timeout", lock_timeout)
        self.lock_timeout = lock_timeout
        make_directory(self.path.parent)

    def __repr__(self) -> str:
        return f"Mbox({str(self.path)!r})"

    def deliver(self, content: Iterable[bytes]) -> str:
        """Store a message, and return its unique-id when it is on disk.

        ``content`` comes in pieces cut anywhere, its lines ending in CRLF. A bare CR or LF becomes CRLF. The sender
        on the line that begins the message is that of its Return-Path, if it has one.

        Raises:
            TimeoutError: other programs held the lock too long. Nothing was stored.
            MboxFormatError: the file is not an mbox. Nothing was stored.
            OSError: nothing was stored.
        """
        uid = secrets.token_hex(16)
        text = Spool()
        try:
            sender, lacks_end = _store(content, text)
            with self._lock() as box:
                box.check_format()
                append(box, _ending(box), separator(sender, time.time()) + unique_id_line(uid, lacks_end), text)
        finally:
            text.close()
        return uid

    def open(self) -> MboxSnapshot:
        """Lock the maildrop for one session and return what is in it now.

        Raises:
            MaildropBusyError: another session has it open, or another program has it locked.
            MboxFormatError: the file is not an mbox.
            OSError: the mbox cannot be read.
        """
        session = SessionLock(beside(self.path, "lock"))
        try:
            with self._lock() as box:
                index = self._index(box)
            return MboxSnapshot(self._lock, index, session.release)
        except BaseException as error:
            session.release()
            if isinstance(error, TimeoutError):
                raise MaildropBusyError from error
            raise

    def open_read_only(self) -> MboxSnapshot:
        """Return what is in the mbox now, without a lock that outlasts the call, and without writing anything.

        Raises:
            MaildropBusyError: another program has it locked, or a rewrite that died has to be ended first.
            MboxFormatError: the file is not an mbox.
            OSError: the mbox cannot be read.
        """
        lock = partial(locked, self.path, self.lock_timeout, to_read=True)
        try:
            with lock() as box:
                if pending(box):
                    raise MaildropBusyError("the mbox is to be repaired first, by who may write to it")
                torn = find_torn(box)
                index = load_index(self._saved, box) if torn is None else None
                index = index if index is not None else read_index(box, torn)
                index.path = None  # right or wrong, it is not ours to remove
        except FileNotFoundError:
            index = MboxIndex()
        except TimeoutError as error:
            raise MaildropBusyError from error
        return MboxSnapshot(lock, index, _nothing)

    @property
    def _saved(self) -> Path:
        return beside(self.path, "index")

    @contextmanager
    def _lock(self) -> Iterator[LockedMbox]:
        """Hold the mbox locked, with nothing torn in it."""
        with locked(self.path, self.lock_timeout) as box:
            _repair(box)
            yield box

    def _index(self, box: LockedMbox) -> MboxIndex:
        index = load_index(self._saved, box)
        if index is None:
            index = read_index(box)
            save_index(self._saved, index)
        return index


def _repair(box: LockedMbox) -> None:
    """End what others had begun when they died: a rewrite, or a delivery, which is taken back."""
    recover(box)
    note = note_beside(box)
    if note.exists():
        torn = find_torn(box)
        if torn is not None:
            replace(box, [Edit(*torn)])
        note.unlink()


def mbox_entry(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message as it stands in an mbox, from the line that begins it to the empty line behind it.

    ``content`` comes in pieces cut anywhere; all of it is taken before the first piece is yielded.
    """
    text = Spool()
    try:
        sender, _ = _store(content, text)
        yield separator(sender, time.time())
        yield from text
    finally:
        text.close()


def _store(content: Iterable[bytes], text: Spool) -> tuple[str, bool]:
    """Write a message as it stands in an mbox, with the empty line that ends it.

    Returns:
        The sender, and whether the last line had no end.
    """
    quoter = Quoter()
    beginning, last = b"", b"\n"
    for piece in canonical(content):
        if len(beginning) < _BEGINNING:
            beginning += piece
        # Canonical: every CR is half of a CRLF, even where a piece cuts it.
        quoted = quoter.feed(piece.replace(b"\r", b""))
        text.write(quoted)
        last = quoted[-1:] or last
    rest = quoter.finish()
    lacks_end = not (rest or last).endswith(b"\n")
    text.write(rest + (b"\n\n" if lacks_end else b"\n"))
    return sender_of(beginning), lacks_end


def _ending(box: LockedMbox) -> bytes:
    """Return what is missing for the mbox to end in an empty line."""
    last = box.read(max(box.size - 3, 0), 3)
    if not last or last.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if last.endswith(b"\n") else b"\n\n"


def _nothing() -> None:
    """Release the lock that was not taken."""
