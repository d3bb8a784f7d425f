"""Names for what a server names: unique-ids are the peer's text, and no names of files (RFC 1939 section 7)."""

from __future__ import annotations

import hashlib

from mailproto.sasl.text import encode_utf8


def safe_key(uid: str) -> str:
    """Return 64 hexadecimal digits that stand for a unique-id, and for no other: fit for the name of a file.

    A unique-id itself may be ``../../.ssh/authorized_keys``, ``CON``, or the same as another one where case does not
    count. Unique-ids of different maildrops may be equal, and so are their keys.
    """
    return hashlib.sha256(encode_utf8(uid)).hexdigest()
