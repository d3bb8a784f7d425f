"""The sizes of messages as sent, for files whose names do not tell it: counted once, then remembered."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mailproto.maildrop.durable import write_durably


def count_octets(blocks: Iterable[bytes]) -> int:
    """Return how many octets a text has once every CR, LF and CRLF is a CRLF."""
    octets = 0
    after_cr = False
    for block in blocks:
        crs = block.count(b"\r")
        crlfs = block.count(b"\r\n") if crs else 0
        if after_cr and block.startswith(b"\n"):
            crlfs += 1
        octets += len(block) + crs + block.count(b"\n") - 2 * crlfs
        after_cr = block.endswith(b"\r") if block else after_cr
    return octets


class SizeCache:
    """Remembers sizes in a file of its own, so that no message is read twice to count it.

    An entry holds for a base as long as the message's file keeps its size and its time of change. The cache is
    a help and no more: where it is missing, torn or foreign, sizes are counted again, and where it cannot be
    written, the next session counts again. Whoever uses it has to hold the session's lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _load(path)
        self._changed = False

    def __contains__(self, base: str) -> bool:
        return base in self._entries

    def get(self, base: str, status: os.stat_result) -> int | None:
        """Return the size as sent of the file with this base and ``status``, None if it is not known."""
        match self._entries.get(base):
            case [status.st_size, status.st_mtime_ns, int(size)] if size >= 0:
                return size
        return None

    def record(self, base: str, status: os.stat_result, size: int) -> None:
        """Remember that the file with this base and ``status`` has ``size`` octets as sent."""
        self._entries[base] = [status.st_size, status.st_mtime_ns, size]
        self._changed = True

    def save(self, bases: Iterable[str]) -> None:
        """Write down what is new, if anything is, and forget all but these ``bases``."""
        if not self._changed:
            return
        entries = {base: self._entries[base] for base in bases if base in self._entries}
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with contextlib.suppress(OSError):
            with write_durably(draft, replace=True) as file:
                file.write(json.dumps(entries).encode("ascii"))
            draft.replace(self._path)
            self._changed = False


def _load(path: Path) -> dict[str, object]:
    """Return the entries in the file, none if it is missing or not one of ours."""
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}
