"""A message being collected: in memory while it is small, in a temporary file beyond that."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

_PIECE = 256 << 10


class Spool:
    """Collects the pieces of a message and gives them back as often as wanted.

    Beyond ``threshold`` octets they go to an unnamed temporary file, so a large message costs no memory.
    """

    __slots__ = ("__weakref__", "_closed", "_file", "_pieces", "_size", "_threshold")

    def __init__(self, threshold: int = 1 << 20) -> None:
        self._threshold = threshold
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._closed = False

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end."""
        self._size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._pieces.append(data)
        if self._size > self._threshold:
            self._open_file()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the message in pieces, from its beginning.

        Raises:
            ValueError: it was thrown away. An empty message in its place would be stored by a hook that is late.
        """
        pieces = tuple(self._pieces)
        if self._closed:  # asked behind the pieces, for another thread may be closing it at this moment
            raise ValueError("the message was closed, and so thrown away")
        return iter(pieces) if self._file is None else self._read(self._file)

    def __bytes__(self) -> bytes:
        return b"".join(self)

    def close(self) -> None:
        """Throw the message away, and its file."""
        self._closed = True
        self._pieces.clear()
        if self._file is not None:
            _discard(self._file)

    def _open_file(self) -> None:
        """Move to a file, which lives as long as this object does, or until `close`."""
        import tempfile  # most processes never need it, and it brings a dozen modules along

        file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, _discard, file)
        file.writelines(self._pieces)
        self._pieces.clear()
        self._file = file

    def _read(self, file: IO[bytes]) -> Iterator[bytes]:
        position = 0
        while True:
            file.seek(position)
            piece = file.read(_PIECE)
            file.seek(0, 2)  # where the next write belongs
            if not piece:
                return
            position += len(piece)
            yield piece


def _discard(file: IO[bytes]) -> None:
    """Close a file, of which nothing more is wanted: neither that it could be written to its end."""
    with suppress(OSError):
        file.close()
