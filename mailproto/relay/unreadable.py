"""What cannot be read of a queue, and will not be by waiting: a file that is gone, cut short, or forbidden.

Waiting helps where the machine is short of something. Where its disk fails nobody knows: one in the network comes
back, a bad sector stays one.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mailproto.errors import MailProtoError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # too many open files, or no memory

_DOUBTFUL = (errno.EIO, errno.ETIMEDOUT, errno.ESTALE)  # a disk, or the way to it


class UnreadableError(MailProtoError):
    """An entry of a queue, or its message, cannot be read before somebody has seen to it.

    Attributes:
        may_pass: whether it may be read after all in a while, for nobody knows: it was the disk that failed.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read from this file in a ``with`` block.

    Raises:
        UnreadableError: in place of an `OSError` that is the file's own fault.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _PASSING:
            raise
        raise UnreadableError(f"{path}: {error.strerror or error}", may_pass=error.errno in _DOUBTFUL) from error


def open_whole(path: Path, size: int | None) -> BinaryIO:
    """Open a file to read that has, unless that is None, so many octets.

    Raises:
        UnreadableError: it is not there, or not whole; later, it has become unreadable.
    """
    file = _File(path)
    found = os.fstat(file.fileno()).st_size
    if size is not None and found != size:
        file.close()
        raise UnreadableError(f"{path}: {found} octets of {size}")
    return io.BufferedReader(file)


class _File(io.FileIO):
    """A file whose every reading is `reading`: a disk may fail at any octet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path):
            super().__init__(os.fspath(path))  # or an error would call it PosixPath('…')

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        with reading(self._path):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with reading(self._path):
            return super().readall()
