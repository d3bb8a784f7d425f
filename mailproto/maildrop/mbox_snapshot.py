"""A session with an mbox: numbers, sizes and unique-ids fixed at login, content looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, suppress

from mailproto._core.spool import Spool
from mailproto.maildrop.base import LockedSnapshot, MessageGoneError, canonical
from mailproto.maildrop.mbox_append import find_torn
from mailproto.maildrop.mbox_format import find_unique_id, unique_id_line
from mailproto.maildrop.mbox_index import MboxIndex, StoredMessage, examine, is_end, may_have, read_index, unquoted
from mailproto.maildrop.mbox_lock import LockedMbox
from mailproto.maildrop.mbox_rewrite import Edit, replace


class MboxSnapshot(LockedSnapshot):
    """The messages of an mbox in the order of the file.

    The mbox is locked only for the moment that a message is copied, or the deletions made. What other programs do
    meanwhile is noticed, because a message is taken for the one of the snapshot only if it still has its unique-id:
    if not, it is looked for in all of the mbox.
    """

    def __init__(
        self,
        lock: Callable[[], AbstractContextManager[LockedMbox]],
        index: MboxIndex,
        release: Callable[[], None],
    ) -> None:
        super().__init__(index.messages, release)
        self._lock = lock
        self._starts, self._ends = index.starts, index.ends
        self._stamp = index.stamp
        self._doubtful = index.path

    def retrieve(self, number: int) -> Iterator[bytes]:
        """Return the content of message ``number`` (from 1) in pieces, every line end a CRLF.

        Raises:
            MessageGoneError: another program removed or changed it.
            TimeoutError: other programs held the lock too long.
        """
        index = self._index(number)
        copy = Spool()
        pieces = _content(copy)
        next(pieces)  # which closes the copy from now on, whatever comes
        try:
            with self._lock() as box:
                stored = self._find(box, index)
                if stored is None or stored.size != self._messages[index].size:
                    raise MessageGoneError
                for block in box.blocks(*stored.text):
                    copy.write(block)
            copy.write(stored.added)
        except BaseException:
            pieces.close()
            raise
        return pieces

    def commit(self, deleted: Sequence[int]) -> None:
        """Remove the messages with these numbers, for good, all or none. One that is gone already counts as removed.

        One that only has another size, because a reader has marked it, is removed all the same.

        Raises:
            TimeoutError: other programs held the lock too long.
            OSError: none was removed, or the next one to lock the mbox removes them.
        """
        indexes = {self._index(number) for number in deleted}
        if not indexes:
            return
        with self._lock() as box:
            self._search(box)
            there = [index for index in indexes if self._find(box, index) is not None]
            edits = [Edit(self._starts[index], self._ends[index]) for index in there]
            if edits:
                room = sum(edit.end - edit.start for edit in edits)
                replace(box, [*edits, *self._keep_unique_ids(box, indexes, room)])

    def _keep_unique_ids(self, box: LockedMbox, deleted: set[int], room: int) -> Iterator[Edit]:
        """Yield what has the messages keep their unique-ids that have a number only because of those before them.

        That takes room, which is there unless almost all messages are equal. What could not be read back is not kept:
        it would be a part of the message. A stranger may come with the last number there is.
        """
        for index, message in enumerate(self._messages):
            if "." in message.uid and index not in deleted:
                stored = self._find(box, index)
                if stored is not None and stored.key != message.uid:
                    edit = Edit(stored.header, stored.text[0], unique_id_line(message.uid, stored.lacks_end))
                    room -= len(edit.text) - (edit.end - edit.start)
                    if room >= 0 and find_unique_id(edit.text, 0) is not None:
                        yield edit

    def _find(self, box: LockedMbox, index: int) -> StoredMessage | None:
        """Return where a message is now, None if it is nowhere; the tables have it from then on."""
        stored = self._look(box, index)
        if stored is None and self._doubtful is not None:
            # The index on disk may be wrong, though it has the right stamp.
            with suppress(OSError):
                self._doubtful.unlink(missing_ok=True)
            self._stamp, self._doubtful = (), None
        if stored is None and self._search(box):
            stored = self._look(box, index)
        return stored

    def _look(self, box: LockedMbox, index: int) -> StoredMessage | None:
        """Return the message if it stands where the tables have it."""
        uid = self._messages[index].uid
        region = (self._starts[index], self._ends[index])
        stored = examine(box, region) if is_end(box, region[1], find_torn(box)) else None
        return stored if stored is not None and may_have(uid, stored.key) else None

    def _search(self, box: LockedMbox) -> bool:
        """Learn where all messages are, unless the mbox has not changed since that was learnt; return whether."""
        if box.stamp() == self._stamp:
            return False
        now = read_index(box, find_torn(box))
        self._stamp = now.stamp
        places = {message.uid: place for place, message in enumerate(now.messages)}
        for index, message in enumerate(self._messages):
            place = places.get(message.uid)
            self._starts[index] = now.starts[place] if place is not None else 0
            self._ends[index] = now.ends[place] if place is not None else 0
        return True


def _content(stored: Spool) -> Generator[bytes, None, None]:
    """Yield nothing, and then the content; close it at the end, or when that is given up."""
    try:
        yield b""
        yield from canonical(unquoted(stored))
    finally:
        stored.close()
