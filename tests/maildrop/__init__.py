"""Tests of mailproto.maildrop, and what they share."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from mailproto.maildrop import LockedSnapshot, MaildirSnapshot


def cut(content: bytes, cuts: list[int]) -> list[bytes]:
    """Return ``content`` in pieces, cut at these offsets; some pieces may be empty."""
    edges = [0, *sorted(min(offset, len(content)) for offset in cuts), len(content)]
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def canonical_form(content: bytes) -> bytes:
    """Return ``content`` with every line end a CRLF: the plain definition, to measure the quick ones by."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def read(snapshot: LockedSnapshot, number: int) -> bytes:
    """Return the whole content of a message."""
    return b"".join(snapshot.retrieve(number))


def uids(snapshot: LockedSnapshot) -> list[str]:
    """Return the unique-ids in order."""
    return [message.uid for message in snapshot.messages]


def contents(snapshot: MaildirSnapshot) -> dict[str, bytes]:
    """Return the content of every message by unique-id."""
    return {message.uid: read(snapshot, number) for number, message in enumerate(snapshot.messages, 1)}


def stored_files(maildir: Path) -> list[str]:
    """Return what lies in tmp, new and cur of a Maildir, as ``folder/name``."""
    return sorted(str(path.relative_to(maildir)) for path in maildir.glob("[tnc]*/*"))
