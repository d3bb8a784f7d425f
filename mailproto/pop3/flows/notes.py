"""What is remembered of the messages that were fetched, and the ledger that it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Note:
    """What a ledger knows of a message.

    ``key`` names it: its unique-id, or what takes its place. ``first_seen`` is in seconds of the clock that the
    caller's ``now`` is of. ``sha256`` is the digest of its content, in hexadecimal. ``stored`` is whether it is safe;
    if not, it may be stored or not. ``deleted`` is whether the server was told to delete it.

    A note without a digest is none of a message: it tells that a run has broken off at one, see
    `mailproto.pop3.flows.hurdles`, or that the maildrop was empty.
    """

    key: str
    first_seen: float
    sha256: str
    stored: bool = False
    deleted: bool = False


class Ledger(Protocol):
    """Where it is written down what was fetched. Each method is done, durably, when it returns.

    A ledger serves one run at a time: two at once would both take everything for new. See to it where that can be.
    """

    def read(self) -> dict[str, Note]:
        """Return all notes, by key."""

    def begin(self, key: str, now: float, sha256: str) -> Note:
        """Note that a message is about to be stored, and return the note, or the older one if there is one."""

    def finish(self, key: str) -> None:
        """Note that it is stored, and on the server still."""

    def mark_deleted(self, keys: Sequence[str]) -> None:
        """Note that the server is told to delete these messages."""

    def forget(self, keys: Sequence[str]) -> None:
        """Drop these notes: the messages are no longer on the server, which may use their names again."""
