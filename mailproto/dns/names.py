"""Domain names as DNS messages have them: labels behind their lengths, and pointers to earlier ones (RFC 1035)."""

from __future__ import annotations

from mailproto.errors import GrammarError

MAX_NAME = 255
"""Octets of a name in a message, the lengths of its labels included (RFC 1035 section 2.3.4)."""
MAX_LABEL = 63
_MAX_POINTERS = 127  # more labels than this a name cannot have
_POINTER = 0xC0  # the two bits that tell a pointer from a length (section 4.1.4)


def encode_name(name: str) -> bytes:
    """Return a domain in A-labels as it goes into a question; a dot at its end changes nothing.

    Raises:
        GrammarError: it is none, or too long, or has octets in it that no host's name can have, escaped or not.
    """
    if not all(map(_is_plain, name.replace(".", "").encode())):
        raise GrammarError("a name with something else in it than letters, digits and the like")
    labels = name.removesuffix(".").encode("ascii").split(b".")
    if not all(0 < len(label) <= MAX_LABEL for label in labels):
        raise GrammarError("a label is empty or too long")
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(encoded) > MAX_NAME:
        raise GrammarError("the name is too long")
    return encoded


def read_name(message: bytes, start: int) -> tuple[str, int]:
    """Return the name at ``start`` in a message, and the index behind it. Only the root has a dot at its end.

    Octets that a host's name cannot have are escaped as in zone files (RFC 1035 section 5.1), so that two names are
    the same text only if they are the same name.

    Raises:
        GrammarError: it is malformed, or points to where it has not come from.
    """
    labels: list[str] = []
    size, pointers = 1, 0
    at = first = start  # where the label is read, and where the name that it belongs to begins
    end = 0
    while length := _octet(message, at):
        if length >= _POINTER:
            target = (length - _POINTER) << 8 | _octet(message, at + 1)
            end = end or at + 2
            pointers += 1
            if target >= first or pointers > _MAX_POINTERS:  # it is "a prior occurrence" that is pointed to
                raise GrammarError("a pointer that does not point back, or one of too many")
            at = first = target
            continue
        label = message[at + 1 : at + 1 + length]
        size += 1 + length
        if length > MAX_LABEL or len(label) < length or size > MAX_NAME:
            raise GrammarError("a name that is malformed or too long")
        labels.append(_text(label))
        at += 1 + length
    return ".".join(labels) or ".", end or at + 1


def _octet(message: bytes, at: int) -> int:
    try:
        return message[at]
    except IndexError:
        raise GrammarError("the message ends within a name") from None


def _text(label: bytes) -> str:
    return "".join(chr(octet) if _is_plain(octet) else f"\\{octet:03}" for octet in label)


def _is_plain(octet: int) -> bool:
    return 0x21 <= octet <= 0x7E and octet not in b".\\"
