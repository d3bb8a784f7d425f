"""Taking parts out of an mbox so that a crash at any step loses nothing, and so that other programs can bear it.

A new file in the place of the old one would be simpler, and lose mail: there are programs that open an mbox, wait
for its lock, and then add a message to what nobody will open any more. So the file is written over from the first
change on, and before that all that will stand there is on disk, in a journal beside it. A journal that is found
means that somebody died in between; it is carried out again. What other programs added meanwhile is kept, and if
they did something else with the file, so is the journal, under another name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mailproto.maildrop.base import BLOCK
from mailproto.maildrop.durable import fsync_directory, write_durably
from mailproto.maildrop.mbox_format import MAX_SEPARATOR, is_separator
from mailproto.maildrop.mbox_index import Region
from mailproto.maildrop.mbox_lock import LockedMbox, beside

logger = logging.getLogger("mailproto")

_MAX_HEADER = 1024


class Edit(NamedTuple):
    """What stands from ``start`` to ``end`` of the file is to become ``text``."""

    start: int
    end: int
    text: bytes = b""


class _Journal(NamedTuple):
    """What is to stand in an mbox from ``start`` to ``end``, its new end: the file at ``path`` from ``tail`` on.

    Attributes:
        inode: the mbox.
        old_end: its end before the change.
        surplus: a hash of what stood behind the new end.
    """

    path: Path
    tail: int
    inode: int
    start: int
    end: int
    old_end: int
    surplus: str

    def blocks(self) -> Iterator[bytes]:
        """Yield what is to stand there, in blocks."""
        with self.path.open("rb") as file:
            file.seek(self.tail)
            yield from iter(partial(file.read, BLOCK), b"")


def replace(box: LockedMbox, edits: Iterable[Edit]) -> None:
    """Make all ``edits`` at once. They do not overlap, and the mbox does not get longer. At return they are on disk.

    Raises:
        OSError: the mbox is as it was, or the next one to lock it makes the edits.
    """
    edits = sorted(edits)
    if not edits:
        return
    size = box.size
    if _is_end(edits, size):
        _cut(box, edits[0].start)
    else:
        end = size + sum(len(edit.text) - (edit.end - edit.start) for edit in edits)
        _carry_out(box, _write_journal(box, edits[0].start, end, _edited(box, edits)))


def _is_end(edits: Sequence[Edit], size: int) -> bool:
    """Say whether the edits do no more than take off the end of the file."""
    ends = [edit.end for edit in edits]
    starts = [edit.start for edit in edits[1:]]
    return [*starts, size] == ends and not any(edit.text for edit in edits)


def _edited(box: LockedMbox, edits: Sequence[Edit]) -> Iterator[bytes]:
    """Yield what is to stand in the mbox from the first edit on."""
    at = edits[0].start
    for edit in edits:
        yield from box.blocks(at, edit.start)
        yield edit.text
        at = edit.end
    yield from box.blocks(at, box.size)


def _cut(box: LockedMbox, size: int) -> None:
    os.ftruncate(box.descriptor, size)
    os.fsync(box.descriptor)


# The journal.


def pending(box: LockedMbox) -> bool:
    """Say whether a change of the mbox was begun and not ended."""
    return beside(box.path, "journal").exists()


def recover(box: LockedMbox) -> None:
    """End the change that somebody began."""
    beside(box.path, "draft").unlink(missing_ok=True)
    path = beside(box.path, "journal")
    if not path.exists():
        return
    journal = _read_journal(path)
    added = _find_added(box, journal) if journal is not None else None
    if journal is None or added is None:
        _set_aside(path)
    elif added[0] < added[1]:
        tail = itertools.chain(journal.blocks(), box.blocks(*added))
        _carry_out(box, _write_journal(box, journal.start, journal.end + added[1] - added[0], tail))
    else:
        _carry_out(box, journal)


def _write_journal(box: LockedMbox, start: int, end: int, tail: Iterable[bytes]) -> _Journal:
    """Write down what is to stand from ``start`` to ``end``. It counts from the moment that the file has its name."""
    path, draft = beside(box.path, "journal"), beside(box.path, "draft")
    status = os.fstat(box.descriptor)
    facts = (status.st_ino, start, end, status.st_size, _hash(box.blocks(end, status.st_size)))
    header = json.dumps(facts).encode("ascii") + b"\n"
    with write_durably(draft, replace=True) as file:
        file.write(header)
        file.writelines(tail)
    draft.replace(path)
    fsync_directory(path.parent)
    return _Journal(path, len(header), *facts)


def _read_journal(path: Path) -> _Journal | None:
    with path.open("rb") as file:
        header = file.read(_MAX_HEADER).partition(b"\n")[0]
    try:
        match json.loads(header):
            case [int(inode), int(start), int(end), int(old_end), str(surplus)]:
                journal = _Journal(path, len(header) + 1, inode, start, end, old_end, surplus)
                return journal if path.stat().st_size == journal.tail + end - start else None
    except (ValueError, RecursionError):
        pass
    return None


def _carry_out(box: LockedMbox, journal: _Journal) -> None:
    box.write(journal.start, journal.blocks())
    os.fsync(box.descriptor)  # an mbox that was cut has to be one that was written
    _cut(box, journal.end)
    journal.path.unlink()


def _find_added(box: LockedMbox, journal: _Journal) -> Region | None:
    """Return where the messages are that other programs have added, None if they did anything else."""
    size = box.size
    if os.fstat(box.descriptor).st_ino != journal.inode:
        return None
    is_cut = _is_written(box, journal) and _hash(box.blocks(journal.end, journal.old_end)) != journal.surplus
    begins = journal.end if is_cut else journal.old_end
    beginning = box.read(begins, 2 * MAX_SEPARATOR).lstrip(b"\r\n")
    are_messages = not beginning or is_separator(beginning)
    return (begins, size) if begins <= size and are_messages else None


def _is_written(box: LockedMbox, journal: _Journal) -> bool:
    """Say whether the mbox has all that the journal has."""
    at = journal.start
    for wanted in journal.blocks():
        if box.read(at, len(wanted)) != wanted:
            return False
        at += len(wanted)
    return True


def _hash(blocks: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _set_aside(path: Path) -> None:
    kept = path.with_name(f"{path.name}-{time.time_ns()}")
    path.rename(kept)
    logger.error("an mbox was changed while a rewrite was to be ended; what should stand at its end is in %s", kept)
