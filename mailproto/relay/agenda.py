"""When which entry is due."""

from __future__ import annotations

import heapq
import math


class Agenda:
    """Names of entries, each once, with the times when they are due."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # with what was moved since, which is passed over

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def put(self, name: str, due: float) -> None:
        """Put an entry on the agenda, or move it."""
        self._due[name] = due
        heapq.heappush(self._heap, (due, name))

    def bring_forward(self) -> None:
        """Have all of them due at once."""
        self._due = dict.fromkeys(self._due, -math.inf)
        self._heap = [(due, name) for name, due in sorted(self._due.items())]

    def next_due(self) -> float:
        """Return when the first one is due, infinity if there is none."""
        while self._heap:
            due, name = self._heap[0]
            if self._due.get(name) == due:
                return due
            heapq.heappop(self._heap)
        return math.inf

    def take(self) -> str:
        """Take the first one off the agenda; there has to be one."""
        self.next_due()
        _, name = heapq.heappop(self._heap)
        del self._due[name]
        return name

    def clear(self) -> None:
        """Leave nothing on it."""
        self._due.clear()
        self._heap.clear()
