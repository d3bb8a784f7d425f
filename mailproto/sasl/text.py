"""Text in SASL: strict UTF-8, and SASLprep (RFC 4013), which makes equal what only looks equal.

What fails is a `GrammarError`, whose text never shows the text that failed: it may be a password.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

from mailproto.errors import GrammarError

MAX_PREPARED = 1024
"""Characters of what is prepared, if not all are ASCII: RFC 4616 section 2 has 255 octets accepted. Whoever has not
logged in could have us work on more for long, for some of them are eighteen when they are normalized."""

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def encode_utf8(text: str) -> bytes:
    """Return ``text`` in UTF-8; a lone surrogate is a `GrammarError`."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise GrammarError("a user name or password that UTF-8 cannot say") from None


def decode_utf8(data: bytes) -> str:
    """Return ``data`` as text; what is not UTF-8 is a `GrammarError`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("a user name or password that is not UTF-8") from None


def saslprep(text: str, *, stored: bool = False) -> str:
    """Return ``text`` prepared for comparison (RFC 4013): mapped, normalized to NFKC, and checked.

    Args:
        text: a user name or a password.
        stored: whether it is to be kept, or hashed. What has been given a meaning since Unicode 3.2, such as most
            pictographs, is refused there, because nobody knows how to normalize it (RFC 3454 section 7).

    Raises:
        GrammarError: it has characters that are prohibited, or an order of them that is; or nothing is left of it; or
            it has more than `MAX_PREPARED`.
    """
    if text.isascii() and text.isprintable() and text:
        return text
    _check_length(text)
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared:
        raise GrammarError("an empty user name or password")
    _check_length(prepared)
    characters = set(prepared)
    if any(prohibited(char) for char in characters for prohibited in _PROHIBITED):
        raise GrammarError("a character that no user name or password may have")
    if stored and any(map(stringprep.in_table_a1, characters)):
        raise GrammarError("a character too new for SASLprep")
    check_direction(prepared)
    return prepared


def comparable(text: str) -> str:
    """Return ``text`` prepared, or as it is where SASLprep refuses it."""
    try:
        return saslprep(text)
    except GrammarError:
        return text


def _check_length(text: str) -> None:
    if len(text) > MAX_PREPARED:
        raise GrammarError("a user name or password that is too long to prepare")


def check_direction(text: str) -> None:
    """Raise `GrammarError` if characters of both directions of writing mix (RFC 3454 section 6)."""
    characters = set(text)
    if not any(map(stringprep.in_table_d1, characters)):
        return
    if any(map(stringprep.in_table_d2, characters)):
        raise GrammarError("characters of both directions of writing")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise GrammarError("what is written from right to left must begin and end so")
