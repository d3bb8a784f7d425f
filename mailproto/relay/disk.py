"""The disk under a relay that runs: one thread that waits for it, and a memory of what it did not take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mailproto.address import Address
from mailproto.relay.entry import Entry
from mailproto.relay.queue import Queue

_T = TypeVar("_T")


class Disk:
    """A queue on disk, for the one relay that works it off."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._unsaved: dict[str, Entry] = {}  # what has become of entries, and is not on disk

    @contextmanager
    def thread(self) -> Iterator[None]:
        """Have the thread that waits for it, for the time of a ``with`` block: one, so that the disk sees the states
        of an entry in their order."""
        with ThreadPoolExecutor(1, "mailproto-queue") as self._thread:
            yield

    async def do(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call what waits for the disk, beside the loop. Once begun it is done, even if nobody waits any more."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        return await asyncio.shield(future)

    async def load(self, name: str) -> Entry | None:
        """Return an entry as things stand, None if it is gone.

        Where it is only not on disk that the entry was put off, it is tried nevertheless: a queue that has filled its
        own disk has no other way to get room again.

        Raises:
            OSError: it cannot be read now, or cannot be noted who is not to get the message again.
            UnreadableError: it cannot be read, or is none.
        """
        try:
            await self.make_up(name)
        except OSError:
            noted, entry = await self.do(self._queue.load, name), self._unsaved[name]
            if noted is None or _addresses(noted) != _addresses(entry):
                raise
            return entry
        return await self.do(self._queue.load, name)

    async def save(self, entry: Entry) -> None:
        """Note what has become of an entry, as `note` does."""
        await self.do(self.note, entry)

    def note(self, entry: Entry) -> None:
        """Note what has become of an entry, in the thread. If that fails it is noted first of all later on."""
        self._unsaved[entry.name] = entry
        self._queue.save(entry)
        del self._unsaved[entry.name]

    async def make_up(self, name: str) -> None:
        """Note what could not be noted before: who has the message is not to get it again."""
        if name in self._unsaved:
            await self.save(self._unsaved[name])

    def unsaved(self, name: str) -> Entry | None:
        """Return what has become of an entry and could not be noted, None if there is nothing of it."""
        return self._unsaved.get(name)

    async def remove(self, name: str) -> None:
        """Remove an entry, and what is remembered of it."""
        await self.do(self._queue.remove, name)
        self._unsaved.pop(name, None)


def _addresses(entry: Entry) -> set[Address]:
    """Return to whom the message is still to be sent."""
    return {recipient.address for recipient in entry.waiting}
