"""Entries that are due while the lanes for all of their ways are full. They wait for the end of any one of those."""

from __future__ import annotations

from collections.abc import Collection, Set

from mailproto.relay.route import Way


class WaitingRoom:
    """Names of entries, in the order of their coming, with the ways for which they wait."""

    def __init__(self) -> None:
        self._by_way: dict[Way, dict[str, None]] = {}
        self._ways_of: dict[str, tuple[Way, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._ways_of)

    def __contains__(self, name: str) -> bool:
        return name in self._ways_of

    @property
    def ways(self) -> Set[Way]:
        """The ways for which somebody waits."""
        return self._by_way.keys()

    def add(self, name: str, ways: Collection[Way]) -> None:
        """Have an entry wait until somebody is called for one of these ways."""
        self._ways_of[name] = tuple(ways)
        for way in ways:
            self._by_way.setdefault(way, {})[name] = None

    def call(self, way: Way, count: int) -> list[str]:
        """Return the first ones of those who wait for this way, so many at most. They wait no longer for any."""
        names = list(self._by_way.get(way, ()))[:count]
        for name in names:
            self.send_away(name)
        return names

    def send_away(self, name: str) -> None:
        """Have an entry wait no longer for any way, if it does."""
        for way in self._ways_of.pop(name, ()):
            del self._by_way[way][name]
            if not self._by_way[way]:
                del self._by_way[way]

    def clear(self) -> None:
        """Send all of them away."""
        self._by_way.clear()
        self._ways_of.clear()
