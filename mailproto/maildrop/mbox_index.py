"""Where the messages of an mbox begin and end, how long they are as sent, and what their unique-ids are.

A message that was delivered here keeps its unique-id in the file, in a field ``X-UIDL`` as the first of its header,
so that it survives every move and rewrite. For one that another program delivered it is a hash of its octets and of
the line before it, which tells the sender and the second; without the fields that readers change. Where that is
the same for several messages they are told apart by a number behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import json
import re
import time
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mailproto.maildrop.base import BLOCK
from mailproto.maildrop.durable import write_durably
from mailproto.maildrop.mbox_format import (
    MAX_SEPARATOR,
    KeptUniqueId,
    Unquoter,
    find_unique_id,
    is_separator,
    without_marks,
)
from mailproto.maildrop.mbox_lock import LockedMbox
from mailproto.maildrop.sizes import count_octets
from mailproto.pop3.snapshot import MessageInfo

_SCAN_BLOCK = 1 << 20
_RACY = 2_000_000_000  # nanoseconds in which a file can change again without its times telling it
_UNIQUE_ID = re.compile(r"[0-9a-f]{32}(?:\.[0-9]{1,9})?")

Stamp = tuple[int, ...]
Region = tuple[int, int]
"""Where something begins and ends in the file."""


class StoredMessage(NamedTuple):
    """What is found at one place of the file.

    Attributes:
        key: its unique-id, but for the number that tells equal messages apart.
        size: octets as sent.
        text: where its content stands.
        header: where its header begins, with the field that keeps the unique-id, if there is one.
        lacks_end: whether that field says that the last line has no end.
        added: the end of the last line, where another program left it out.
    """

    key: str
    size: int
    text: Region
    header: int
    lacks_end: bool
    added: bytes


class MboxIndex:
    """All messages of an mbox, in their order.

    Attributes:
        stamp: that of the mbox for which this holds.
        starts: where each message begins.
        ends: where each message ends.
        messages: size and unique-id of each.
        path: the file that it was read from, if it was.
    """

    def __init__(
        self,
        stamp: Stamp = (),
        starts: Iterable[int] = (),
        ends: Iterable[int] = (),
        messages: Iterable[MessageInfo] = (),
    ) -> None:
        self.stamp = stamp
        self.starts = array("Q", starts)
        self.ends = array("Q", ends)
        self.messages = list(messages)
        self.path: Path | None = None

    def add(self, region: Region, message: MessageInfo) -> None:
        """Add the next message."""
        self.starts.append(region[0])
        self.ends.append(region[1])
        self.messages.append(message)


def separators(box: LockedMbox, start: int = 0, *, before: bytes = b"\n") -> Iterator[int]:
    """Yield where messages begin, from ``start`` on, which is the beginning of a line.

    With ``before`` empty, yield where the line stands that begins one, even behind something else.
    """
    kept, needle = before, before + b"From "
    for origin in itertools.count(start, _SCAN_BLOCK):
        block = box.read(origin, _SCAN_BLOCK)
        text = kept + block
        found = text.find(needle)
        while found >= 0:
            line = found + len(before)
            begins = origin - len(kept) + line
            is_cut = line + MAX_SEPARATOR > len(text)
            if is_separator(box.read(begins, MAX_SEPARATOR)) if is_cut else is_separator(text, line):
                yield begins
            found = text.find(needle, found + 1)
        if len(block) < _SCAN_BLOCK:
            return
        kept = text[1 - len(needle) :]


def read_index(box: LockedMbox, torn: Region | None = None) -> MboxIndex:
    """Read all of the mbox, but for what is ``torn``.

    Raises:
        MboxFormatError: it is none.
    """
    box.check_format()
    index = MboxIndex(box.stamp())
    numbers: dict[str, int] = {}
    begins = heapq.merge(separators(box), torn or ())
    for region in itertools.pairwise(itertools.chain(begins, (box.size,))):
        is_torn = torn is not None and torn[0] <= region[0] < torn[1]
        stored = examine(box, region) if not is_torn else None
        if stored is not None:
            index.add(region, MessageInfo(stored.size, _make_unique(stored.key, numbers)))
    return index


def _make_unique(key: str, numbers: dict[str, int]) -> str:
    """Return a unique-id for the next message with this key. ``numbers`` has those that were given so far."""
    uid = key
    stem, number = _parts(key)
    while uid in numbers:
        number = numbers[stem] = max(numbers.get(stem, 1), number) + 1
        uid = f"{stem}.{number}"
    numbers.setdefault(uid, 1)
    return uid


def _parts(uid: str) -> tuple[str, int]:
    """Return what equal messages have in common in their unique-ids, and the number that tells them apart."""
    stem, _, number = uid.partition(".")
    return stem, int(number or 1)


def may_have(uid: str, key: str) -> bool:
    """Say whether a message with this key may have been given this unique-id, by itself or beside equal ones."""
    (stem, number), (own_stem, own_number) = _parts(uid), _parts(key)
    return stem == own_stem and own_number <= number


def examine(box: LockedMbox, region: Region) -> StoredMessage | None:
    """Return what stands in ``region``, None if no message begins there."""
    start, end = region
    beginning = box.read(start, min(BLOCK, end - start))
    if not is_separator(beginning):
        return None
    header = beginning.find(b"\n") + 1
    last = beginning[-3:] if end - start <= BLOCK else box.read(end - 3, 3)
    added = b"" if last.endswith(b"\n") else b"\n"
    end = _end_of_text(last, end)
    kept = find_unique_id(beginning, header)
    if kept is None:
        kept = KeptUniqueId(_hash(_pieces(box, beginning, start, (start, end)), added), False, header)
    begin = start + kept.end
    if kept.lacks_end:  # but for the one that it got in the file, unless another program has taken that
        end, added = max(begin, end - (not added)), b""
    text = (begin, end)
    size = _size_as_sent(box, beginning, start, text)
    if added and not last.endswith(b"\r"):  # which counts as a line end already
        size += 2
    return StoredMessage(kept.uid, size, text, start + header, kept.lacks_end, added)


def is_end(box: LockedMbox, end: int, torn: Region | None = None) -> bool:
    """Say whether a message may end at ``end``: at the end of the mbox, or where the next one begins."""
    ends = (box.size, torn[0]) if torn is not None else (box.size,)
    return end in ends or is_separator(box.read(end, MAX_SEPARATOR))


def _end_of_text(last: bytes, end: int) -> int:
    """Return where the text ends in front of the empty line that ends a message, if it has one."""
    return end - 1 if last.endswith(b"\n\n") else end - 2 if last == b"\n\r\n" else end


def _pieces(box: LockedMbox, beginning: bytes, start: int, text: Region) -> Iterator[bytes]:
    """Yield the text, of which ``beginning`` has what stands from ``start`` on."""
    yield beginning[text[0] - start : text[1] - start]
    yield from box.blocks(start + len(beginning), text[1])


def _hash(pieces: Iterator[bytes], added: bytes) -> str:
    digest = hashlib.blake2b(without_marks(next(pieces)), digest_size=16)
    for piece in pieces:
        digest.update(piece)
    digest.update(added)
    return digest.hexdigest()


def _size_as_sent(box: LockedMbox, beginning: bytes, start: int, text: Region) -> int:
    if text[1] - start <= len(beginning) and b"\r" not in beginning and b">From " not in beginning:
        return text[1] - text[0] + beginning.count(b"\n", text[0] - start, text[1] - start)
    return count_octets(unquoted(_pieces(box, beginning, start, text)))


def unquoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a stored text without its quoting."""
    unquoter = Unquoter()
    for piece in pieces:
        yield unquoter.feed(piece)
    yield unquoter.finish()


# The index on disk: a help and no more. Where it is missing, torn or foreign, the mbox is read again.


def load_index(path: Path, box: LockedMbox) -> MboxIndex | None:
    """Return the index in the file at ``path``, None if it is not one of the mbox as it is now."""
    try:
        saved = json.loads(path.read_bytes())
        if saved["stamp"] != list(box.stamp()):
            return None
        messages = [MessageInfo(size, uid) for size, uid in zip(saved["sizes"], saved["uids"], strict=True)]
        index = MboxIndex(box.stamp(), saved["starts"], saved["ends"], messages)
        index.path = path
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return index if _is_sound(index) else None


def _is_sound(index: MboxIndex) -> bool:
    count = len(index.messages)
    return len(index.starts) == len(index.ends) == count and all(
        type(size) is int and size >= 0 and type(uid) is str and _UNIQUE_ID.fullmatch(uid)
        for size, uid in index.messages
    )


def save_index(path: Path, index: MboxIndex) -> None:
    """Write the index down, unless the mbox changed so lately that the next change might not show."""
    if time.time_ns() - max(index.stamp[3:]) < _RACY:
        return
    saved = {
        "stamp": index.stamp,
        "starts": index.starts.tolist(),
        "ends": index.ends.tolist(),
        "sizes": [size for size, _ in index.messages],
        "uids": [uid for _, uid in index.messages],
    }
    draft = path.with_name(f"{path.name}.tmp")
    with contextlib.suppress(OSError):
        with write_durably(draft, replace=True) as file:
            file.write(json.dumps(saved).encode("ascii"))
        draft.replace(path)
