"""A session with a Maildir: numbers, sizes and unique-ids fixed at login, content read when it is asked for."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import FileIO
from pathlib import Path

from mailproto.maildrop.base import BLOCK, LockedSnapshot, MessageGoneError, NotRemovedError, canonical
from mailproto.maildrop.files import MessageFiles
from mailproto.maildrop.names import delivery_order, size_as_sent, unique_id
from mailproto.maildrop.sizes import SizeCache, count_octets
from mailproto.pop3.snapshot import MessageInfo

logger = logging.getLogger("mailproto")

_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO)
"""Faults of one file. Others, such as too many open files, are of the system, and all messages may have them."""


class MaildirSnapshot(LockedSnapshot):
    """The messages of ``new`` and ``cur`` in the order of their delivery.

    A session that ends without `commit` changes no message's place. With it, the messages that stay move from
    ``new`` to ``cur``, without a flag: that is how a Maildir's reader says that it has noticed them.
    """

    def __init__(self, root: Path, release: Callable[[], None]) -> None:
        """List the Maildir at ``root``, whose lock the caller holds and ``release`` gives back."""
        self._files = MessageFiles(root)
        self._part_namesakes()
        self._sizes = SizeCache(root / "mailproto-sizes")
        sizes = self._measure_all()
        self._bases = list(sizes)
        super().__init__((MessageInfo(size, unique_id(base)) for base, size in sizes.items()), release)

    def retrieve(self, number: int) -> Iterator[bytes]:
        """Return the content of message ``number`` (from 1) in pieces, every line end a CRLF.

        Raises:
            MessageGoneError: at once, before the first piece, if the message is no longer there.
        """
        pieces = self._read(self._index(number))
        next(pieces)  # opens the file
        return pieces

    def commit(self, deleted: Sequence[int]) -> None:
        """Remove the messages with these numbers, for good. One that is gone already counts as removed.

        Raises:
            NotRemovedError: some could not be removed, after all were tried.
            OSError: it is not certain that the removals are on disk.
        """
        numbers = {self._bases[self._index(number)]: number for number in deleted}
        failures = self._files.remove(numbers) if numbers else {}
        self._files.move_to_cur(base for base in self._bases if base not in numbers)
        if failures:
            raise NotRemovedError([numbers[base] for base in failures]) from next(iter(failures.values()))

    def _part_namesakes(self) -> None:
        self._files.part_namesakes()

    def _read(self, index: int) -> Iterator[bytes]:
        """Yield nothing once the file is open, then its content."""
        base, announced = self._bases[index], self._messages[index].size
        with self._files.open(base) as file:
            yield b""
            sent = 0
            for piece in canonical(_blocks(file)):
                if sent <= announced < sent + len(piece):  # behind which nobody reads on
                    self._correct(base)
                sent += len(piece)
                yield piece
            if sent < announced:
                self._correct(base)

    def _correct(self, base: str) -> None:
        """Remember the size of a message whose name tells it wrong, for the next session.

        Other programs that write W= do not count a bare CR as a line end.
        """
        self._count(base)
        self._sizes.save(self._files)

    def _measure_all(self) -> dict[str, int]:
        """Return the sizes as sent by base, in the order of delivery. What was counted is kept if one fails.

        A message that cannot be read is left out until it can: it is not to keep its owner from all others.
        """
        sizes: dict[str, int] = {}
        try:
            for base in sorted(self._files, key=delivery_order):
                try:
                    with contextlib.suppress(MessageGoneError):
                        sizes[base] = self._measure(base)
                except OSError as error:
                    if error.errno not in _UNREADABLE:
                        raise
                    logger.error("a message that cannot be read is left out: %s", error)
        finally:
            self._sizes.save(self._files)
        return sizes

    def _measure(self, base: str) -> int:
        """Return the size of a message as sent: as remembered, or else as its name tells it, or else counted."""
        remembered = base in self._sizes
        size = self._sizes.get(base, self._files.status(base)) if remembered else size_as_sent(base)
        return size if size is not None else self._count(base)

    def _count(self, base: str) -> int:
        with self._files.open(base) as file:
            size = count_octets(_blocks(file))
            self._sizes.record(base, os.fstat(file.fileno()), size)
        return size


def _blocks(file: FileIO) -> Iterator[bytes]:
    return iter(partial(file.read, BLOCK), b"")
