"""Adding a message to an mbox so that a crash at any step leaves it whole or not there.

It takes three steps: a note of where the message begins and how long it will be is on disk; the message is on disk;
the note is gone. A note that is found means that somebody died in between, and what is not whole is taken away
again, whatever came behind it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mailproto.maildrop.durable import fsync_directory, write_durably
from mailproto.maildrop.mbox_index import Region, separators
from mailproto.maildrop.mbox_lock import LockedMbox, beside


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
    path = note_beside(box)
    with write_durably(path, replace=True) as file:
        file.write(json.dumps(_Note(end, length, head.decode("ascii"))).encode("ascii"))
    fsync_directory(path.parent)
    try:
        box.write(end, itertools.chain((head,), rest))
        os.fsync(box.descriptor)
    except BaseException:
        os.ftruncate(box.descriptor, end)
        path.unlink()
        raise
    path.unlink()


def note_beside(box: LockedMbox) -> Path:
    """Return the path of the note that is there while a message is added."""
    return beside(box.path, "append")


def find_torn(box: LockedMbox) -> Region | None:
    """Return where a message is that was not written to its end."""
    note = _read_note(note_beside(box))
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
