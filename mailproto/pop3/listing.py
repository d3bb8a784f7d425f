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
    """The drop listing of STAT: how many messages, and their octets together (RFC 1939 section 5)."""

    messages: int
    octets: int


def parse_stat(text: bytes, lenience: Lenience) -> Stat:
    """Return what STAT says. What follows the two numbers has no meaning (RFC 1939 section 5)."""
    messages, octets = _two_words(text, lenience)
    return Stat(parse_uint(messages), parse_uint(octets))


def parse_size(line: bytes, lenience: Lenience) -> tuple[int, int]:
    """Return number and octets of a scan listing. What follows them has no meaning (RFC 1939 section 5).

    Raises:
        GrammarError: it is none.
    """
    number, octets = _two_words(line, lenience)
    return _message_number(number), parse_uint(octets)


def parse_unique_id(line: bytes, lenience: Lenience) -> tuple[int, str]:
    """Return number and unique-id of a unique-id listing, which nothing may follow (RFC 1939 section 7).

    Raises:
        GrammarError: it is none.
    """
    words = lenience.split(line)
    if len(words) != 2:
        raise GrammarError(f"not a unique-id listing: {printable(line)}")
    return _message_number(words[0]), _unique_id(words[1], lenience)


def parse_one_unique_id(text: bytes, asked: int, lenience: Lenience) -> tuple[int, str]:
    """Return number and unique-id of the answer to UIDL about message ``asked`` (RFC 1939 section 7).

    Raises:
        GrammarError: it is no such answer.
    """
    words = lenience.split(text)
    if len(words) == 1:
        lenience.need(Tolerance.ID_WITHOUT_NUMBER, "a unique-id without the number of the message")
        return asked, _unique_id(words[0], lenience)
    return parse_unique_id(text, lenience)


def collect_unique_ids(lines: Iterable[bytes], lenience: Lenience) -> dict[int, str]:
    """Return message numbers and unique-ids of all ``lines``.

    Raises:
        GrammarError: a line is none of the listing, or a message or a unique-id is listed twice.
    """
    whole = [line for line in lines if not _has_no_id(line, lenience)]
    entries = collect(parse_unique_id, whole, lenience)
    if len(set(entries.values())) != len(entries):
        lenience.need(Tolerance.SAME_UNIQUE_ID, "two messages with the same unique-id")
    return entries


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


def _unique_id(word: bytes, lenience: Lenience) -> str:
    if not _UNIQUE_ID.fullmatch(word):
        raise GrammarError(f"not a unique-id: {printable(word)}")
    if len(word) > MAX_UNIQUE_ID:
        lenience.need(Tolerance.LONG_UNIQUE_ID, f"a unique-id of {len(word)} characters")
    return word.decode("ascii")


def _has_no_id(line: bytes, lenience: Lenience) -> bool:
    number, _, uid = line.replace(b"\t", b" ").strip(b" ").partition(b" ")
    if uid:
        return False
    _message_number(number)
    lenience.need(Tolerance.NO_UNIQUE_ID, "a message without a unique-id")
    return True


def _two_words(line: bytes, lenience: Lenience) -> list[bytes]:
    words = line.split(b" ", 2)[:2]
    if b"" in words or b"\t" in words[0] or b"\t" in words[-1]:
        words = lenience.split(line)[:2]
    if len(words) < 2:
        raise GrammarError(f"not two numbers: {printable(line)}")
    return words


def _message_number(digits: bytes) -> int:
    number = parse_uint(digits)
    if number == 0:
        raise GrammarError("messages are numbered from 1")
    return number
