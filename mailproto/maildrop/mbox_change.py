"""Changing an mbox file so that a crash at any step loses nothing: one message added, or parts of it replaced.

A message is added in three steps: a note of where it begins and how long it will be is on disk; the message is on
disk; the note is gone. A note that is found means that somebody died in between, and what is not whole is taken
away again, whatever came behind it. All other changes put a new file in the place of the old one, or cut its end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mailproto.maildrop.durable import fsync_directory, write_durably
from mailproto.maildrop.mbox_index import Region, separators
from mailproto.maildrop.mbox_lock import LockedMbox, beside, lock_file


class Edit(NamedTuple):
    """What stands from ``start`` to ``end`` of the file is to become ``text``."""

    start: int
    end: int
    text: bytes = b""


class _Note(NamedTuple):
    """A message is being added: ``length`` octets at ``start`` that begin with ``head``, like no other message."""

    start: int
    length: int
    head: str


def append(box: LockedMbox, head: bytes, rest: Iterable[bytes], length: int) -> None:
    """Add a message of ``length`` octets, ``head`` and ``rest``, at the end. At return it is on disk.

    Raises:
        OSError: the mbox is as it was.
    """
    end = box.size
    path = beside(box.path, "append")
    with write_durably(path, replace=True) as file:
        file.write(json.dumps(_Note(end, length, head.decode("ascii"))).encode("ascii"))
    fsync_directory(path.parent)
    try:
        with os.fdopen(os.dup(box.descriptor), "wb") as file:
            file.seek(end)
            file.write(head)
            file.writelines(rest)
        os.fsync(box.descriptor)
    except BaseException:
        os.ftruncate(box.descriptor, end)
        path.unlink()
        raise
    path.unlink()


def repair(box: LockedMbox) -> None:
    """Take away what a delivery or a rewrite left that was killed."""
    beside(box.path, "new").unlink(missing_ok=True)
    path = beside(box.path, "append")
    if path.exists():
        torn = find_torn(box)
        if torn is not None:
            replace(box, [Edit(*torn)])
        path.unlink()


def find_torn(box: LockedMbox) -> Region | None:
    """Return where a message is that was not written to its end."""
    note = _read_note(beside(box.path, "append"))
    if note is None:
        return None
    head = note.head.encode("ascii")
    found = box.read(note.start, len(head))
    if found == head:
        return _find_rest(box, note, note.start + len(head))
    # Less than the head, and something behind it: nobody can say any more whose that is, so it stays.
    is_rest = found != b"" and head.startswith(found) and note.start + len(found) == box.size
    return (note.start, box.size) if is_rest else None


def _find_rest(box: LockedMbox, note: _Note, text: int) -> Region | None:
    """Return where the message is whose text begins at ``text``, None if it is whole."""
    end = next(separators(box, text), box.size)
    if end - note.start == note.length:
        return None
    # Somebody may have added a message right behind it, in the middle of a line.
    end = next(separators(box, text, before=b""), end)
    return (note.start, end) if end - note.start < note.length else None


def _read_note(path: Path) -> _Note | None:
    """Return the note in a file. One that is not whole is none: then nothing was added yet."""
    try:
        match json.loads(path.read_bytes()):
            case [int(start), int(length), str(head)] if start >= 0 and head.isascii():
                return _Note(start, length, head)
    except (OSError, ValueError, RecursionError):
        pass
    return None


def replace(box: LockedMbox, edits: Iterable[Edit]) -> None:
    """Make all ``edits``, which do not overlap, at once. At return they are on disk.

    Raises:
        OSError: the mbox is as it was.
    """
    edits = sorted(edits)
    if not edits:
        return
    if _is_end(edits, box.size):
        os.ftruncate(box.descriptor, edits[0].start)
        os.fsync(box.descriptor)
    else:
        _put_new_file(box, edits)


def _is_end(edits: Sequence[Edit], size: int) -> bool:
    """Say whether the edits do no more than take off the end of the file."""
    ends = [edit.end for edit in edits]
    starts = [edit.start for edit in edits[1:]]
    return [*starts, size] == ends and not any(edit.text for edit in edits)


def _put_new_file(box: LockedMbox, edits: Sequence[Edit]) -> None:
    draft = beside(box.path, "new")
    with write_durably(draft) as file:
        file.writelines(_edited(box, edits))
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_NOFOLLOW)
        try:
            lock_file(descriptor)
            _take_after(descriptor, draft, box)
            draft.replace(box.path)
        except BaseException:
            os.close(descriptor)
            raise
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    box.adopt(descriptor)
    fsync_directory(box.path.parent)


def _edited(box: LockedMbox, edits: Sequence[Edit]) -> Iterator[bytes]:
    at = 0
    for edit in edits:
        yield from box.blocks(at, edit.start)
        yield edit.text
        at = edit.end
    yield from box.blocks(at, box.size)


def _take_after(descriptor: int, draft: Path, box: LockedMbox) -> None:
    """Give a file the owner, the mode and the extended attributes of the mbox."""
    owner = os.fstat(box.descriptor)
    new = os.fstat(descriptor)
    if (owner.st_uid, owner.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    shutil.copystat(box.path, draft)
    os.utime(descriptor)
    os.fsync(descriptor)
