"""Tests of the mbox and of read-only maildrops, and what they share."""

from __future__ import annotations

from pathlib import Path

from mailproto.maildrop import LockedSnapshot, Mbox, MboxSnapshot
from tests.maildrop import read

SEPARATOR = b"From ada@example.org Thu Nov 29 12:33:52 2001\n"
FOREIGN = SEPARATOR + b"Subject: foreign\n\nFrom me to you\n>From quoted\n\n"
"""A message as another program writes it, with a line that it did not quote and one that it did."""
FOREIGN_CONTENT = b"Subject: foreign\r\n\r\nFrom me to you\r\nFrom quoted\r\n"


def mbox_of(path: Path, *messages: bytes) -> Mbox:
    """Return an mbox whose file another program has made of these messages."""
    path.write_bytes(b"".join(messages))
    return Mbox(path, lock_timeout=5)


def all_of(snapshot: LockedSnapshot) -> list[bytes]:
    """Return the content of every message, in order, each of which has to have the size that was announced."""
    contents = [read(snapshot, number) for number in range(1, len(snapshot.messages) + 1)]
    assert [len(content) for content in contents] == [size for size, _ in snapshot.messages]
    return contents


def now_in(mbox: Mbox) -> list[bytes]:
    """Return the content of every message, by a session of its own."""
    snapshot = mbox.open()
    try:
        return all_of(snapshot)
    finally:
        snapshot.close()


def repaired(mbox: Mbox) -> MboxSnapshot:
    """Return what is in the mbox once somebody has locked it to write, as every delivery does."""
    with mbox._lock():
        pass
    return mbox.open_read_only()


def leftovers(mbox: Mbox) -> list[str]:
    """Return what lies beside the mbox but for the files that may stay."""
    usual = {mbox.path.name, f".{mbox.path.name}.mailproto-lock", f".{mbox.path.name}.mailproto-index"}
    return sorted(path.name for path in mbox.path.parent.iterdir() if path.name not in usual)
