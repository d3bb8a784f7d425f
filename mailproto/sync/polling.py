"""What a blocking connection waits with: the system's poll, or select on a system that has none.

Neither needs a descriptor of its own. The standard library's selectors are made of both, and for a wait for one
socket, of which each message takes one, they take longer than the system does.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Protocol

# Nearly everywhere these numbers, but on AIX, say, the second one is 2.
READABLE: int = getattr(select, "POLLIN", 1)
WRITABLE: int = getattr(select, "POLLOUT", 4)
EITHER = READABLE | WRITABLE


class Poll(Protocol):
    """What ``select.poll`` makes, as far as it is used here."""

    def register(self, fd: int, events: int, /) -> object:
        """Wait for these events on a descriptor from now on, and for no others."""

    def unregister(self, fd: int, /) -> object:
        """Wait for nothing on a descriptor any more."""

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """Wait up to so many milliseconds; return descriptors, each with what has happened to it."""


class SelectPoll:
    """A `Poll` out of select."""

    def __init__(self) -> None:
        self._selector = selectors.SelectSelector()

    def register(self, fd: int, events: int, /) -> None:
        """As in `Poll`."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        self._selector.register(fd, events & READABLE | (selectors.EVENT_WRITE if events & WRITABLE else 0))

    def unregister(self, fd: int, /) -> None:
        """As in `Poll`."""
        self._selector.unregister(fd)

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """As in `Poll`."""
        ready = self._selector.select(timeout / 1000)
        return [
            (key.fd, events & READABLE | (WRITABLE if events & selectors.EVENT_WRITE else 0)) for key, events in ready
        ]


new_poll: Callable[[], Poll] = getattr(select, "poll", SelectPoll)
