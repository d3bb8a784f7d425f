"""What a client lets pass of a server's deviations, by name."""

from __future__ import annotations

import enum
from collections.abc import Collection

from mailproto.errors import GrammarError


class Tolerance(enum.Enum):
    """A deviation of a server's that can be let pass. Each reports itself when it is used.

    Attributes:
        STRAY_SPACES: more than one space, a tab, or one too many at either end, in STAT, LIST, UIDL and CAPA.
        LONG_UNIQUE_ID: a unique-id of more than 70 characters.
        NO_UNIQUE_ID: a message in a unique-id listing without an id behind its number; it is left out.
        SAME_UNIQUE_ID: two messages of one listing with the same unique-id, which then tells nothing of either.
        WHOLE_LISTING: all messages listed in answer to LIST with a number.
        ID_WITHOUT_NUMBER: ``+OK`` and the unique-id alone, in answer to UIDL with a number.
        BARE_PLUS: ``+`` for an empty challenge, which RFC 5034 section 4 writes with a space behind it.
    """

    STRAY_SPACES = "stray spaces"
    LONG_UNIQUE_ID = "long unique-id"
    NO_UNIQUE_ID = "no unique-id"
    SAME_UNIQUE_ID = "same unique-id"
    WHOLE_LISTING = "whole listing"
    ID_WITHOUT_NUMBER = "unique-id without number"
    BARE_PLUS = "plus without space"


class Lenience:
    """The tolerances that are allowed, and in ``used`` those that were needed."""

    __slots__ = ("_allowed", "used")

    def __init__(self, allowed: Collection[Tolerance]) -> None:
        self._allowed = allowed
        self.used: set[Tolerance] = set()

    def need(self, tolerance: Tolerance, what: str) -> None:
        """Note that ``tolerance`` is needed; raise `GrammarError` for ``what`` if it is not allowed."""
        if tolerance not in self._allowed:
            raise GrammarError(f"{what} ({tolerance.value})")
        self.used.add(tolerance)

    def split(self, line: bytes) -> list[bytes]:
        """Return the words of ``line``, which single spaces separate.

        Raises:
            GrammarError: there is more space than that, and it is not let.
        """
        words = line.split(b" ")
        if b"" in words or b"\t" in line:
            self.need(Tolerance.STRAY_SPACES, "words that are not separated by single spaces")
            words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
        return words
