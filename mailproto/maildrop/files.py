"""The message files of a Maildir, found again wherever other programs move them meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import TypeVar

from mailproto.maildrop.base import MessageGoneError
from mailproto.maildrop.durable import fsync_directory
from mailproto.maildrop.names import base_of, new_base

_ATTEMPTS = 4
_RACY = 2_000_000_000  # nanoseconds in which a directory can change again without its time telling it
_T = TypeVar("_T")


class MessageFiles:
    """The files of ``new`` and ``cur`` by their bases, as the last look found them.

    No lock keeps other programs from moving a file to ``cur`` or changing its flags at any moment. So where a
    file is not where it was, the directories are listed again before it is called gone, unless they are as they were
    at the last look: whoever asks for all that another program has removed has no listing made for each.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._others: list[tuple[str, str]] = []
        self._scan()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def _scan(self) -> None:
        self._listed = self._changed()
        # new before cur: a file on its way is seen twice, which the dict mends, and never missed.
        seen = [(base_of(name), f"{folder}/{name}") for folder in ("new", "cur") for name in self._list(folder)]
        self._names = dict(seen)
        self._others = [(base, name) for base, name in seen if self._names[base] != name]

    def part_namesakes(self) -> None:
        """Give a base of its own to each file that has another one's, as a copy of a Maildir may leave it behind.

        One of the two would be shown, perhaps the other deleted, and that be taken for the first in the next session.
        """
        for base, name in self._others:
            with contextlib.suppress(OSError):  # mostly because it was only on its way, and is there no more
                if not os.path.samestat((self._root / name).lstat(), (self._root / self._names[base]).lstat()):
                    folder, _, own = name.partition("/")
                    (self._root / name).rename(self._root / folder / (new_base() + own.removeprefix(base)))
                    fsync_directory(self._root / folder)
        if self._others:
            self._scan()

    def _list(self, folder: str) -> Iterator[str]:
        """Yield the names of the plain files in a folder. A link could lead anywhere, so it is none.

        A file that is renamed while a directory is listed may be left out under both names, so a directory that
        has changed meanwhile is listed again.
        """
        path = self._root / folder
        for _ in range(_ATTEMPTS):
            before = path.stat().st_mtime_ns
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        yield entry.name
            if path.stat().st_mtime_ns == before:
                break

    def _changed(self) -> tuple[int, ...]:
        """Return when the folders have changed; or nothing, if that was so lately that a change might not show."""
        changes = tuple((self._root / folder).stat().st_mtime_ns for folder in ("new", "cur"))
        return changes if time.time_ns() - max(changes) >= _RACY else ()

    def _scan_anew(self) -> bool:
        """List the folders again, and return True; or False where that is certain to find nothing new."""
        if self._listed and self._listed == self._changed():
            return False
        self._scan()
        return True

    def _reach(self, base: str, action: Callable[[Path], _T]) -> _T:
        """Return what ``action`` makes of the file's path, looking for the file anew while it is not there."""
        for attempt in range(_ATTEMPTS):
            if attempt and not self._scan_anew():
                break
            if base in self._names:
                with contextlib.suppress(FileNotFoundError):
                    return action(self._root / self._names[base])
        raise MessageGoneError

    def status(self, base: str) -> os.stat_result:
        """Return the status of a message's file; raise `MessageGoneError` if there is none."""
        return self._reach(base, Path.lstat)

    def open(self, base: str) -> FileIO:
        """Open a message's file to read, unbuffered; raise `MessageGoneError` if there is none."""
        descriptor = self._reach(base, lambda path: os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        return os.fdopen(descriptor, "rb", buffering=0)

    def remove(self, bases: Iterable[str]) -> dict[str, OSError]:
        """Remove messages for good, and return those that are still there, each with the reason.

        One listing serves all that were moved meanwhile. What is not found again counts as removed. As long as
        listing anew gets on, it is done, however busy the others are.
        """
        outcome = {base: self._unlink(base) for base in bases}
        missing = _moved(outcome)
        in_vain = 0
        while missing and in_vain < _ATTEMPTS:
            self._scan()
            outcome |= {base: self._unlink(base) if base in self._names else None for base in missing}
            before, missing = len(missing), _moved(outcome)
            in_vain = in_vain + 1 if len(missing) == before else 0
        for folder in ("new", "cur"):
            fsync_directory(self._root / folder)
        return {base: error for base, error in outcome.items() if error}

    def _unlink(self, base: str) -> OSError | None:
        """Remove a message's file from where it was seen last, and return what went wrong."""
        if base not in self._names:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            (self._root / self._names[base]).unlink()
        except OSError as error:
            return error
        return None

    def move_to_cur(self, bases: Iterable[str]) -> None:
        """Tell other programs that these messages were noticed: a reader moves them out of ``new``.

        It does not matter where that fails, mostly because somebody else was faster.
        """
        for base in bases:
            folder, _, name = self._names.get(base, "").partition("/")
            if folder == "new":
                target = self._root / "cur" / (name if ":" in name else f"{name}:2,")
                with contextlib.suppress(OSError):
                    (self._root / "new" / name).rename(target)


def _moved(outcome: Mapping[str, OSError | None]) -> list[str]:
    """Return the bases whose files were not where they had been seen."""
    return [base for base, error in outcome.items() if isinstance(error, FileNotFoundError)]
