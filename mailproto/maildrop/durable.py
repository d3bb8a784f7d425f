"""Files and directories that survive a crash: what is fsynced when, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
    """
    exclusive = os.O_TRUNC if replace else os.O_EXCL
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | exclusive, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
