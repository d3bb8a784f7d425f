"""What the name of a file in a Maildir says, how a new one is made, and which user names may name a directory.

A name is ``base`` or ``base:info``. The base is unique for ever and stays while readers move the file from ``new``
to ``cur`` and change its flags, which are the info. It begins with the time of delivery, and may tell sizes:
``,S=`` the octets of the file, ``,W=`` the octets with every line end a CRLF.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time

_SIZE_AS_SENT = re.compile(r",W=([0-9]{1,18})(?=,|\Z)")
_DELIVERY = re.compile(r"([0-9]{1,18})\.(?:[^.M]*M([0-9]{1,6})(?![0-9]))?")
_UNIQUE_ID = re.compile(r"[\x21-\x7e]{1,70}")
_HOST_OCTETS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_deliveries = itertools.count(1)


def new_base() -> str:
    """Return a base that no other delivery has: time, microsecond, process, count of deliveries, and host.

    The microseconds have all of their digits for those who take names for text, as Courier does for the order.
    """
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{seconds}.M{microseconds:06}P{os.getpid()}Q{next(_deliveries)}.{_escape_host(socket.gethostname())}"


def _escape_host(host: str) -> str:
    """Return ``host`` with what means something in a name (``/``, ``:``, ``,``) or is odd as ``\\ooo``, in octal."""
    octets = os.fsencode(host or "localhost")
    return "".join(chr(octet) if octet in _HOST_OCTETS else f"\\{octet:03o}" for octet in octets)


def base_of(name: str) -> str:
    """Return the part of a file's name that never changes."""
    return name.partition(":")[0]


def size_as_sent(base: str) -> int | None:
    """Return the octets with CRLF line ends that ``,W=`` tells, None if it does not."""
    match = _SIZE_AS_SENT.search(base)
    return int(match[1]) if match else None


def delivery_order(base: str) -> tuple[int, int, str]:
    """Return a sort key: second and microsecond of delivery, then the base; what tells no time comes first."""
    match = _DELIVERY.match(base)
    return (int(match[1]), int(match[2] or 0), base) if match else (0, 0, base)


def unique_id(base: str) -> str:
    """Return the unique-id (RFC 1939 section 7) of the file with this base: the base, or a hash of an odd one.

    It depends on the base alone, not on what else is in the Maildir, so no deletion can ever hand the id of one
    message to another. That is why the sizes stay part of it.
    """
    if _UNIQUE_ID.fullmatch(base):
        return base
    return hashlib.blake2b(os.fsencode(base), digest_size=20).hexdigest()


def is_safe_name(name: str) -> bool:
    """Say whether a user's name may name a directory: not empty, not hidden, no ``/``, nothing unprintable.

    That leaves no way up or out of the directory it is put into, and no name that a terminal or log is fooled by.
    """
    return name.isprintable() and 0 < len(name.encode()) <= 255 and "/" not in name and name[0] != "."
