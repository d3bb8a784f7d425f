"""Answers of name servers, put together octet by octet."""

from __future__ import annotations

import ipaddress
import struct

A, CNAME, SOA, MX, TXT, AAAA, SRV = 1, 5, 6, 15, 16, 28, 33
RESPONSE, AUTHORITATIVE, TRUNCATED, ASKED, AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
USUAL = RESPONSE | ASKED | AVAILABLE


def name(text: str) -> bytes:
    """Return a name, not compressed."""
    labels = [label.encode("latin-1") for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(owner: str | bytes, kind: int, value: bytes, cls: int = 1) -> bytes:
    """Return a record; an owner in octets is taken as it is."""
    encoded = owner if isinstance(owner, bytes) else name(owner)
    return encoded + struct.pack("!HHIH", kind, cls, 300, len(value)) + value


def mx(owner: str | bytes, preference: int, host: str | bytes) -> bytes:
    """Return an MX record."""
    encoded = host if isinstance(host, bytes) else name(host)
    return record(owner, MX, struct.pack("!H", preference) + encoded)


def srv(owner: str, priority: int, weight: int, port: int, target: str) -> bytes:
    """Return an SRV record."""
    return record(owner, SRV, struct.pack("!3H", priority, weight, port) + name(target))


def txt(owner: str, *strings: bytes) -> bytes:
    """Return a TXT record."""
    return record(owner, TXT, b"".join(bytes([len(string)]) + string for string in strings))


def alias(owner: str, target: str) -> bytes:
    """Return a CNAME record."""
    return record(owner, CNAME, name(target))


def address(owner: str, text: str) -> bytes:
    """Return an A or AAAA record."""
    parsed = ipaddress.ip_address(text)
    return record(owner, A if parsed.version == 4 else AAAA, parsed.packed)


def answer(
    query: bytes,
    *records: bytes,
    code: int = 0,
    flags: int = USUAL,
    message_id: int | None = None,
    question: bytes | None = None,
) -> bytes:
    """Return the answer to a query, or one that does not quite fit it."""
    asked = query[12:] if question is None else question
    number = int.from_bytes(query[:2]) if message_id is None else message_id
    return struct.pack("!6H", number, flags | code, bool(asked), len(records), 0, 0) + asked + b"".join(records)


def question(text: str, kind: int, cls: int = 1) -> bytes:
    """Return a question."""
    return name(text) + struct.pack("!HH", kind, cls)
