"""Files and directories that survive a crash: what is fsynced when, and in which order."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def fsync_directory(path: Path) -> None:
    """Wait until the entries of a directory are on disk: files created, renamed or removed in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory (mode 0700) and its missing parents; their own entries are on disk at return."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        fsync_directory(path.parent)


@contextmanager
def write_durably(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """Open a new file (mode 0600) to write; at the end of the block its content is on disk.

    The directory's entry is not: that takes `fsync_directory`. If the block raises, the file is removed.

    Raises:
        FileExistsError: ``path`` exists, and ``replace`` is false.
        OSError: the file cannot be written; the error names it.
    """
    exclusive = os.O_TRUNC if replace else os.O_EXCL
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | exclusive, 0o600)
    try:
        with io.BufferedWriter(_Named(path, descriptor)) as file:
            yield file
            file.flush()
            with _naming(path):
                os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Named(io.FileIO):
    """A file that is named where it cannot be written: there may be many disks, of which one is full."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        super().__init__(descriptor, "wb")

    def write(self, data: ReadableBuffer, /) -> int:
        with _naming(self._path):
            return super().write(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in an error, which the system does only where it is opened."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # it is the system's
            error.filename = os.fspath(path)
        raise
