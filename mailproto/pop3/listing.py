"""What a client reads of STAT, LIST and UIDL (RFC 1939 sections 5 and 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from mailproto._core.codec import parse_uint, printable
from mailproto.errors import GrammarError
from mailproto.pop3.tolerance import Lenience, Tolerance

T = TypeVar("T")

_UNIQUE_ID = re.compile(rb"[!-~]+")
MAX_UNIQUE_ID = 70


class Stat(NamedTuple):
    """The drop listing: how many messages, and their octets together."""

    messages: int
    octets: int


def parse_stat(text: bytes, lenience: Lenience) -> Stat:
    """Return what STAT says. What follows the two numbers has no meaning (RFC 1939 section 5)."""
    messages, octets = _two_words(text, lenience)
    return Stat(parse_uint(messages), parse_uint(octets))


def parse_size(line: bytes, lenience: Lenience) -> tuple[int, int]:
    """Return number and octets of a scan listing. What follows them has no meaning (RFC 1939 section 5)."""
    number, octets = _two_words(line, lenience)
    return _message_number(number), parse_uint(octets)


def parse_unique_id(line: bytes, lenience: Lenience) -> tuple[int, str]:
    """Return number and unique-id of a unique-id listing, which nothing may follow (RFC 1939 section 7)."""
    words = lenience.split(line)
    if len(words) != 2 or not _UNIQUE_ID.fullmatch(words[1]):
        raise GrammarError(f"not a unique-id listing: {printable(line)}")
    if len(words[1]) > MAX_UNIQUE_ID:
        lenience.need(Tolerance.LONG_UNIQUE_ID, f"a unique-id of {len(words[1])} characters")
    return _message_number(words[0]), words[1].decode("ascii")


def collect(
    parse: Callable[[bytes, Lenience], tuple[int, T]], lines: Iterable[bytes], lenience: Lenience
) -> dict[int, T]:
    """Return message numbers and values of all ``lines``.

    Raises:
        GrammarError: a line is none of the listing, or a message is listed twice.
    """
    entries: dict[int, T] = {}
    for line in lines:
        number, value = parse(line, lenience)
        if number in entries:
            raise GrammarError(f"message {number} is listed twice")
        entries[number] = value
    return entries


def _two_words(line: bytes, lenience: Lenience) -> list[bytes]:
    words = line.split(b" ", 2)[:2]
    if b"" in words or any(b"\t" in word for word in words):
        words = lenience.split(line)[:2]
    if len(words) < 2:
        raise GrammarError(f"not two numbers: {printable(line)}")
    return words


def _message_number(digits: bytes) -> int:
    number = parse_uint(digits)
    if number == 0:
        raise GrammarError("messages are numbered from 1")
    return number
