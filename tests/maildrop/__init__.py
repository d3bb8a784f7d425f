"""Tests of mailproto.maildrop, and what they share."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from hypothesis import strategies as st

from mailproto.maildrop import LockedSnapshot, MaildirSnapshot

_LINE = st.sampled_from([b"", b".", b"..", b"From x", b"\0", b"\xff\xfe", b"a" * 3000]) | st.binary(max_size=40).map(
    lambda line: line.translate(None, b"\r\n")
)

CONTENTS = st.lists(_LINE, max_size=12).map(b"\r\n".join)
"""Any message whose lines end in CRLF: dots, empty lines, 8-bit, NUL, and often no CRLF at the end."""

MESSY_CONTENTS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b".", b"\0"]), max_size=20).map(b"".join)
"""Any text with bare CRs and LFs in it."""

CUTS = st.lists(st.integers(0, 5000), max_size=6)
"""Where to cut a message."""


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
