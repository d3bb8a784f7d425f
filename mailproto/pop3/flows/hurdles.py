"""Messages at which a run has broken off: they must not stand in the way of the others, nor of the deletions.

A server that hangs up at a message does so each time, and what is behind it would never be fetched. So what a run has
broken off at is tried last in the next one. If that breaks off as well, it is left out of one run, which so comes to
its end and to the deletions, and is tried last in the run behind that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailproto._core.flow import Call, Flow
from mailproto.pop3.flows.client import MessageListing
from mailproto.pop3.flows.notes import Ledger, Note

_NAME = re.compile(r"broken off ([12]): (.*)")  # no unique-id has a space in it


class Hurdles:
    """Remembers in a ledger at which messages runs have broken off, once or twice in a row.

    Args:
        ledger: where it is remembered.
        notes: all that is in the ledger; the notes on hurdles are taken out.
        now: as in the notes.
    """

    def __init__(self, ledger: Ledger, notes: dict[str, Note], now: float) -> None:
        self._ledger = ledger
        self._now = now
        self._times: dict[str, int] = {}
        for match in filter(None, map(_NAME.fullmatch, list(notes))):
            del notes[match[0]]
            self._times[match[2]] = max(int(match[1]), self._times.get(match[2], 0))  # both are there after a crash

    def times(self, message: MessageListing) -> int:
        """Return how often runs have broken off at a message: 0, once, or, so that it is to be left out, twice."""
        return self._times.get(_key(message), 0)

    def stumble(self, message: MessageListing) -> Flow[None]:
        """Note that this run has broken off at a message."""
        yield from self._write(self._times | {_key(message): min(self.times(message) + 1, 2)})

    def settle(self, ahead: Iterable[MessageListing]) -> Flow[None]:
        """Note that the run has come to its end, and what is still ``ahead``: it is tried the next time, but last."""
        yield from self._write({_key(message): 1 for message in ahead})

    def _write(self, times: dict[str, int]) -> Flow[None]:
        before, self._times = self._times, times
        for key, number in times.items() - before.items():
            yield Call(self._ledger.begin, (_name(key, number), self._now, ""))
        gone = [_name(key, number) for key, number in before.items() - times.items()]
        if gone:
            yield Call(self._ledger.forget, (gone,))


def _key(message: MessageListing) -> str:
    """Return what a message is known by before it is fetched. Without a unique-id that is only likely the same."""
    return message.uid if message.uid is not None else f"{message.number} of {message.size} octets"


def _name(key: str, times: int) -> str:
    return f"broken off {times}: {key}"
