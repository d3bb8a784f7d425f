"""Adding a message to an mbox so that a crash at any step leaves it whole or not there.

It takes three steps: a note of where the message begins and how long it will be is on disk; the message is on disk;
the note is gone. A note that is found means that somebody died in between, and what is not whole is taken away
again, whatever came behind it.
"""

from __future__ import annotations

import itertools
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from mailproto._core.spool import Spool
from mailproto.maildrop.base import BLOCK
from mailproto.maildrop.durable import fsync_directory, write_durably
from mailproto.maildrop.mbox_format import MAX_SEPARATOR, is_separator, lookalikes
from mailproto.maildrop.mbox_index import Region, separators
from mailproto.maildrop.mbox_lock import LockedMbox, beside


class _Note(NamedTuple):
    """A message is being added: ``length`` octets at ``start`` that begin with ``head``, like no other message.

    ``lookalikes`` are the texts in it that would pass for the line that begins another one, behind their places and
    in the order of these.
    """

    start: int
    length: int
    head: str
    lookalikes: Sequence[tuple[int, str]]


def append(box: LockedMbox, ending: bytes, head: bytes, rest: Spool) -> None:
    """Add a message, ``head`` and ``rest``, behind the ``ending`` that the last one lacks. At return it is on disk.

    The ending is no part of what may be taken back: what others add relies on it.

    Raises:
        OSError: the mbox is as it was.
    """
    end = box.size
    path = note_beside(box)
    with write_durably(path, replace=True) as file:
        length = len(head) + len(rest)
        note = (end + len(ending), length, head.decode("ascii"), list(_lookalikes(len(head), rest)))
        file.write(json.dumps(note).encode("ascii"))
    fsync_directory(path.parent)
    try:
        box.write(end, itertools.chain((ending, head), rest))
        os.fsync(box.descriptor)
    except BaseException:
        os.ftruncate(box.descriptor, end)
        path.unlink()
        raise
    with suppress(OSError):  # the message is there, and so the note says nothing to the next one to lock the mbox
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
    found = box.read(note.start, len(head) + 2 * MAX_SEPARATOR)
    if found.startswith(head):
        return _find_rest(box, note, note.start + len(head))
    # Less than the head: with nothing behind it, or another message, between which somebody may have put line ends.
    for written in range(len(head) - 1, 0, -1):
        behind = found[written:].lstrip(b"\r\n")
        if found[:written] == head[:written] and (not behind or is_separator(behind)):
            return note.start, note.start + len(found) - len(behind)
    return None


def _find_rest(box: LockedMbox, note: _Note, text: int) -> Region | None:
    """Return where the message is whose text begins at ``text``, None if it is whole."""
    end = next(separators(box, text), box.size)
    if end - note.start == note.length:
        return None
    # Somebody may have added a message right behind it, in the middle of a line.
    added = (at for at in separators(box, text, before=b"") if not _is_of(note, at, box))
    end = min(end, next(added, end))
    return (note.start, end) if end - note.start < note.length else None


def _is_of(note: _Note, at: int, box: LockedMbox) -> bool:
    """Say whether what begins at ``at`` is part of the message, as far as it goes, and only looks like another."""
    place = bisect_right(note.lookalikes, at - note.start, key=itemgetter(0)) - 1
    if place < 0:
        return False
    begin, text = note.lookalikes[place]
    return text.startswith(_line(box.read(at, MAX_SEPARATOR)), at - note.start - begin)


def _read_note(path: Path) -> _Note | None:
    """Return the note in a file. One that is not whole is none: then nothing was added yet."""
    try:
        match json.loads(path.read_bytes()):
            case [int(start), int(length), str(head), list(found)] if start >= 0 and head.isascii():
                return _Note(start, length, head, sorted((int(at), str(text)) for at, text in found))
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    return None


def _lookalikes(start: int, text: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Yield place and text of what looks like the line that begins a message, wherever on its line it stands.

    What overlaps is one: so all that is yielded is not longer than the text, whatever its sender has made of it.
    """
    begin, seen = 0, bytearray()
    for at, found in _find_lookalikes(start, text):
        if at <= begin + len(seen):
            seen += found[begin + len(seen) - at :]
            continue
        if seen:
            yield begin, seen.decode("latin-1")
        begin, seen = at, bytearray(found)
    if seen:
        yield begin, seen.decode("latin-1")


def _find_lookalikes(start: int, text: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield what `lookalikes` does, of a text in pieces. At the end of a block one may be cut, and comes again."""
    kept = bytearray()
    for piece in text:
        kept += piece
        if len(kept) > BLOCK:
            yield from ((start + at, found) for at, found in lookalikes(bytes(kept)))
            passed = len(kept) - 2 * MAX_SEPARATOR
            start += passed
            del kept[:passed]
    yield from ((start + at, found) for at, found in lookalikes(bytes(kept)))


def _line(text: bytes) -> str:
    return text.partition(b"\n")[0].decode("latin-1")
