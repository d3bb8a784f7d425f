"""The places for connections: so many at a time, each to who has waited longest."""

from __future__ import annotations

import asyncio


class Slots:
    """Places, each of which is held for the time of an ``async with`` block."""

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)
        self._waiting = 0

    @property
    def free(self) -> bool:
        """Whether there is a place, and nobody waits for one."""
        return not self._semaphore.locked()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a place."""
        return self._waiting > 0

    async def __aenter__(self) -> None:
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._semaphore.release()
