"""What is done with an entry whose turn has come: it is sent, or returned, or removed, or waits for room."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mailproto.relay.attempt import Fate
from mailproto.relay.config import RelayConfig
from mailproto.relay.disk import Disk
from mailproto.relay.entry import Entry
from mailproto.relay.job import NOTHING
from mailproto.relay.lane import Spawn
from mailproto.relay.lanes import Lanes
from mailproto.relay.notices import Notices
from mailproto.relay.orderbook import OrderBook
from mailproto.relay.orders import Order
from mailproto.relay.queue import Queue
from mailproto.relay.round import Round
from mailproto.relay.route import Way
from mailproto.relay.telling import attempt_at
from mailproto.relay.unreadable import UnreadableError
from mailproto.relay.waiting import WaitingRoom
from mailproto.smtp.notices import Action
from mailproto.smtp.reply import Reply

logger = logging.getLogger("mailproto")

_MAX_ACTIVE = 1000  # entries that are tried at a time
_MAX_STRIKES = 3  # failures of the disk, until an entry is set aside
_ORDERED = Reply.build(554, "The operator of this relay has given it up", "5.0.0")


class Dispatcher:
    """Sees to entries, many at a time.

    Attributes:
        active: the names of those that it sees to just now.

    Args:
        queue: where they are.
        config: that of the relay.
        disk: the disk under the queue.
        orders: what is to be done with some of them.
        spawn: makes a task of a coroutine, which ends with the relay.
        called: called with the name of an entry that is to be seen to now.
        added: called with the name of an entry that is new, from whatever thread.
    """

    def __init__(
        self,
        queue: Queue,
        config: RelayConfig,
        disk: Disk,
        orders: OrderBook,
        *,
        spawn: Spawn,
        called: Callable[[str], None],
        added: Callable[[str], None],
    ) -> None:
        self.active: set[str] = set()
        self._queue = queue
        self._config = config
        self._disk = disk
        self._orders = orders
        self._called = called
        self._notices = Notices(queue, config, self.active, added)
        self._lanes = Lanes(config, queue, spawn, self._call_in)
        self._waiting = WaitingRoom()
        self._rounds: dict[str, Round] = {}
        self._strikes: dict[str, int] = {}  # how often the disk has failed an entry on end
        self._stopping = False

    def clear(self) -> None:
        """Forget what a cancelled run has left half done."""
        for state in (self.active, self._waiting, self._rounds, self._lanes):
            state.clear()
        self._stopping = False

    def stop(self) -> None:
        """Send nothing more but what is under way."""
        self._stopping = True
        self._lanes.drop()

    def __contains__(self, name: str) -> bool:
        return name in self.active or name in self._waiting

    @property
    def full(self) -> bool:
        """Whether there is no room for one more entry."""
        return len(self.active) == _MAX_ACTIVE

    @property
    def someone_waits(self) -> bool:
        """Whether an entry waits for room."""
        return bool(self._waiting)

    # Who waits for room.

    def call_in_left_behind(self) -> None:
        """Call those who wait for ways whose lanes have ended: whoever was called before is gone."""
        for way in self._waiting.ways - self._lanes.ways:
            self._call_in(way)

    def _call_in(self, way: Way) -> None:
        """Call, of those who wait for a way whose lane has ended, as many as may have room."""
        for name in self._waiting.call(way, _MAX_ACTIVE // 2):
            self._called(name)

    def heed(self, name: str, order: Order) -> None:
        """Have an order carried out soon. What is under way ends first; what it has not come to is not begun."""
        if name not in self.active:
            self._waiting.send_away(name)
            self._called(name)
        elif order is not Order.RETRY:
            self._lanes.withdraw(name)

    # One entry.

    async def see_to(self, name: str) -> float | None:
        """See to an entry that is among the ``active``, and take it from there.

        Return when it is due next, None if it is gone, and infinity if it waits for room.
        """
        try:
            due = await self._try_readable(name)
        except Exception as error:
            # A disk that is full is no mistake of the program's, and fails every message.
            logger.error("%s: an attempt failed: %s", name, error, exc_info=not isinstance(error, OSError))
            due = self._config.clock() + self._config.schedule.first_hour
        if due is None or math.isfinite(due):
            self._rounds.pop(name, None)
        self.active.remove(name)
        return due

    async def _try_readable(self, name: str) -> float | None:
        try:
            due = await self._try(name)
        except UnreadableError as error:
            return await self._give_another_chance(name, error)
        self._strikes.pop(name, None)
        return -math.inf if name in self._orders else due  # for something that was ordered meanwhile

    async def _give_another_chance(self, name: str, error: UnreadableError) -> float | None:
        """Return when to try again to read an entry; set it aside if that is of no use, or was done often enough."""
        strikes = self._strikes.pop(name, 0) + 1
        if not error.may_pass or strikes == _MAX_STRIKES:
            await self._disk.do(self._queue.set_aside, name, error)
            return -math.inf if name in self._orders else None
        self._strikes[name] = strikes
        logger.warning("%s cannot be read now, and is tried again: %s", name, error)
        return self._config.clock() + self._config.schedule.first_hour

    async def _try(self, name: str) -> float | None:
        """Try an entry if it is due, or do with it what was ordered; return what `see_to` does.

        Raises:
            UnreadableError: there is something of it that cannot be read.
        """
        entry = await self._load(name)
        order = self._orders.get(name)
        if entry is None or order is Order.REMOVE:
            await self._remove(name, entry)
            return None
        now = self._config.clock()
        if entry.arrival > now:  # the clock has been set back since
            entry = replace(entry, arrival=now, due=now)
        if entry.due > now:
            if order is None and not self._config.schedule.is_misdated(entry, now):
                return entry.due
            entry = replace(entry, due=now)  # so that what is begun now is ended at once, by the next run, too
            if order is Order.RETRY:  # which is forgotten now, while this may have to wait for room
                with suppress(OSError):
                    await self._disk.save(entry)
        current = self._take_up(entry, now)
        if order is Order.RETURN:
            await current.give_up(_ORDERED)
        await self._orders.strike(name, order)
        if self._stopping or name in self._orders:  # by now
            return -math.inf
        return await self._send(name, current)

    def _take_up(self, entry: Entry, now: float) -> Round:
        """Return the attempt at an entry that was interrupted, or a new one."""
        current = self._rounds.get(entry.name)
        if current is None:
            current = self._rounds[entry.name] = Round(entry, now, self._config, self._disk, self._notices)
        current.entry = entry
        return current

    async def _send(self, name: str, current: Round) -> float | None:
        """Send an entry on those of its ways where there is room; return what `see_to` does."""
        ways = current.ways()
        room = _MAX_ACTIVE - len(self.active)
        jobs = {way: current.job(to) for way, to in ways.items() if self._lanes.takes_more(way, room)}
        if ways and not jobs:
            self._waiting.add(name, ways)
            return math.inf
        await self._lanes.work_off(jobs)
        await self._disk.make_up(name)
        for job in jobs.values():
            if job.unreadable is not None:
                raise job.unreadable
        if self._stopping:
            return None  # perhaps nothing was tried; what was done is on disk, and concluded by the next run
        # Nobody waits for those to whom it is a long way; and what was ordered meanwhile comes before the conclusion.
        if len(jobs) < len(ways) or name in self._orders:
            await current.interrupt(tuple(jobs))
            return -math.inf
        return await self._rounds.pop(name).conclude()

    async def _load(self, name: str) -> Entry | None:
        """Return an entry as things stand, None if it is gone; also if it cannot be read, but is to be removed."""
        try:
            return await self._disk.load(name)
        except (OSError, UnreadableError):
            if self._orders.get(name) is not Order.REMOVE:
                raise
            return self._disk.unsaved(name)

    async def _remove(self, name: str, entry: Entry | None) -> None:
        """Forget an entry that is to be removed, and the order for one that is gone."""
        if self._orders.get(name) is Order.REMOVE:
            await self._disk.remove(name)
        if entry is not None:
            now = self._config.clock()
            for recipient in entry.recipients:
                if recipient.action in (None, Action.FAILED):  # and not who has it, of which nobody is told now
                    self._config.tell(attempt_at(entry, recipient.address, Fate.REMOVED, _ORDERED, NOTHING, now))
        await self._orders.strike(name, self._orders.get(name))
