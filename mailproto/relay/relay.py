"""The relay: works a queue off, over asyncio, and tells senders what became of their mail."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mailproto.address import Address, format_path
from mailproto.relay.agenda import Agenda
from mailproto.relay.attempt import Attempt, Fate, one_line
from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import MAX_NAME, Entry, Pending
from mailproto.relay.job import NOTHING, Heard, Job
from mailproto.relay.lane import Lane
from mailproto.relay.orders import Order
from mailproto.relay.queue import Queue, new_name
from mailproto.relay.route import Way
from mailproto.relay.schedule import conclude
from mailproto.relay.slots import Slots
from mailproto.relay.telling import attempt_at, attempt_with, write_notice
from mailproto.relay.transfer import Changes, with_reply
from mailproto.relay.unreadable import UnreadableError
from mailproto.relay.waiting import WaitingRoom
from mailproto.smtp.notices import Action, Report
from mailproto.smtp.reply import Reply

logger = logging.getLogger("mailproto")

_MAX_ACTIVE = 1000  # entries that are tried at a time
_ORDERED = Reply.build(554, "The operator of this relay has given it up", "5.0.0")
_MAX_STRIKES = 3  # failures of the disk, until an entry is set aside
_POLL = 60.0  # seconds between two looks for what other processes have added
_POLL_ORDERS = 1.0  # and for what they have ordered, for somebody waits

_T = TypeVar("_T")


class _Round:
    """An attempt at an entry, on all of its ways. If some of them are full it is made in parts.

    Attributes:
        begun: the time when it began.
        tried: the ways that are through.
        deferred: the last word on each recipient who waits on.
    """

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.tried: set[Way] = set()
        self.deferred: dict[Address, Attempt] = {}


class Relay:
    """Sends what is in a queue to where it belongs (RFC 5321 sections 3.6 and 4.5.4.1)::

        relay = Relay(queue, RelayConfig(hostname="relay.example.org", resolver=resolver))
        handler = RelayHandler(queue, postmaster=root, trusted=["192.0.2.0/24"], queued=relay.wake)
        async with aio.SMTPServer(aio.InThreads(handler, "on_message"), port=587, tls=context):
            await relay.run()

    It need not be in the process of the server: what others add to the queue it finds by itself.
    """

    def __init__(self, queue: Queue, config: RelayConfig) -> None:
        self._queue = queue
        self._config = config
        self._agenda = Agenda()
        self._active: dict[str, Entry | None] = {}
        self._unsaved: dict[str, Entry] = {}  # what has become of entries, and is not on disk
        self._rounds: dict[str, _Round] = {}
        self._lanes: dict[Way, Lane] = {}
        self._waiting = WaitingRoom()
        self._orders: dict[str, Order] = {}  # what is to be done and is not
        self._strikes: dict[str, int] = {}  # how often the disk has failed an entry on end
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit: asyncio.Timeout | None = None
        self._changed = asyncio.Event()
        self._slots = Slots(config.max_connections)
        self._seen = -math.inf  # what the clock has shown last
        self._misdated: set[str] = set()  # the entries that were being tried when it was set back

    def wake(self, name: str) -> None:
        """Take up an entry that was just added. May be called from any thread, whether the relay runs or not.

        What other processes have added is found after a minute at most.
        """
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._enter, name)

    async def run(self) -> None:
        """Work the queue off until `stop`. If it is cancelled, messages under way are sent again by the next run.

        Raises:
            MaildropBusyError: another relay works this queue off, or this one does already, which goes on.
            OSError: the queue cannot be read to begin with. Later on that is logged, and passes.
        """
        await self._work(forever=True)

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way is through, or has taken too long. The rest is for
        the next run."""
        if self._limit is not None and not self._stopping:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._config.grace)
        self._stopping = True
        for lane in self._lanes.values():
            lane.drop()
        self._changed.set()

    async def attempt_due(self) -> None:
        """Try what is due now, and the notices that come of it, and return when that is done; raise as `run`."""
        await self._work(forever=False)

    async def _work(self, *, forever: bool) -> None:
        """Work until there is nothing more to do, or it takes too long to stop."""
        with self._queue.reserved():  # first of all: this relay may be the one that works it off
            try:
                async with asyncio.timeout(None) as limit:
                    self._limit = limit
                    await self._work_on(forever=forever)
            except TimeoutError:
                if not limit.expired():
                    raise
                logger.warning("what was under way was cut off, and is sent again by the next run")
            finally:
                self._limit = None

    async def _work_on(self, *, forever: bool) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for state in (self._agenda, self._active, self._rounds, self._lanes, self._waiting, self._orders):
            state.clear()  # what a cancelled run has left
        self._changed, self._slots = asyncio.Event(), Slots(self._config.max_connections)  # of this loop
        self._stopping = False
        # One thread, so that the disk sees the states of an entry in their order.
        with ThreadPoolExecutor(1, "mailproto-queue") as self._disk:
            await self._look()
            await self._take_orders()  # before anything is sent: it may be what is to be removed
            async with asyncio.TaskGroup() as self._tasks:
                next_look, next_orders = loop.time() + _POLL, loop.time() + _POLL_ORDERS
                while True:
                    self._changed.clear()
                    if loop.time() >= next_look:
                        await self._is_readable(self._look)
                        next_look = loop.time() + _POLL
                    if loop.time() >= next_orders:
                        readable = await self._is_readable(self._take_orders)
                        next_orders = loop.time() + (_POLL_ORDERS if readable else _POLL)
                    self._start_due()
                    if not self._active and (self._stopping or not (forever or self._waiting)):
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(self._idle_time(), min(next_look, next_orders) - loop.time())):
                            await self._changed.wait()

    async def _is_readable(self, look: Callable[[], Awaitable[None]]) -> bool:
        """Have a look. That it fails, which it did not at first, is a failure of the machine, and passes."""
        try:
            await look()
        except OSError as error:
            logger.error("the queue cannot be looked through now: %s", error)
            return False
        return True

    async def _look(self) -> None:
        """Enter what is in the queue."""
        for name in await self._on_disk(self._queue.names):
            self._enter(name)
        for way in self._waiting.ways - self._lanes.keys():  # whoever was called in before is gone
            self._call_in(way)

    def _enter(self, name: str, due: float = -math.inf) -> None:
        """Put an entry on the agenda; a new one is seen to at once, and then tells itself when it is due."""
        if not (name in self._agenda or name in self._active or name in self._waiting):
            self._agenda.put(name, due)
            self._changed.set()

    async def _take_orders(self) -> None:
        """See to what is ordered for entries. What is under way ends first; what it has not come to is not begun."""
        orders = await self._on_disk(self._queue.orders.given)
        for name, order in orders.items():
            if self._orders.get(name) is order:
                continue
            self._orders[name] = order
            if name not in self._active:
                self._waiting.send_away(name)
                self._agenda.put(name, -math.inf)
            elif order is not Order.RETRY:
                for lane in self._lanes.values():
                    lane.withdraw(name)

    async def _carried_out(self, name: str, order: Order | None) -> None:
        """Forget an order for an entry, if there was one: first on disk, so that it is not read again. Another one
        that was given meanwhile stands."""
        if order is not None:
            await self._on_disk(self._queue.orders.forget, name, order)
            if self._orders.get(name) is order:
                del self._orders[name]

    def _takes_more(self, way: Way) -> bool:
        """Say whether there is room in the lane for a way.

        So that no number of messages for one that is slow holds up those for another, it takes no more than there is
        room left for all others; nor, once it has begun, while others wait to begin.
        """
        lane = self._lanes.get(way)
        if lane is None:
            return True
        others_wait = len(self._lanes) > self._config.max_connections
        return len(lane) < _MAX_ACTIVE - len(self._active) and not (lane.begun and others_wait)

    def _call_in(self, way: Way) -> None:
        """Put on the agenda, of those who wait for a way whose lane has ended, as many as may have room."""
        for name in self._waiting.call(way, _MAX_ACTIVE // 2):
            self._agenda.put(name, -math.inf)
        self._changed.set()

    def _start_due(self) -> None:
        now = self._config.clock()
        if now < self._seen - _POLL:  # the clock has been set back: each tells anew when it is due
            self._agenda.bring_forward()
            self._misdated.update(self._active)
        self._seen = now
        while not self._full and self._agenda.next_due() <= now:
            name = self._agenda.take()
            self._active[name] = None
            self._tasks.create_task(self._attempt(name))

    def _idle_time(self) -> float:
        """Return the seconds in which nothing is to be begun, if nothing changes."""
        return math.inf if self._full else self._agenda.next_due() - self._config.clock()

    @property
    def _full(self) -> bool:
        return self._stopping or len(self._active) == _MAX_ACTIVE

    async def _attempt(self, name: str) -> None:
        """Try one entry, and put it on the agenda again if something is left to be done."""
        due: float | None = None
        try:
            try:
                due = await self._try(name)
                self._strikes.pop(name, None)
                if name in self._orders:  # something that was ordered meanwhile
                    due = -math.inf
            except UnreadableError as error:
                due = await self._give_another_chance(name, error)
        except Exception as error:
            # A disk that is full is no mistake of the program's, and fails every message.
            logger.error("%s: an attempt failed: %s", name, error, exc_info=not isinstance(error, OSError))
            due = self._config.clock() + self._config.schedule.first_hour
        if due is None or math.isfinite(due):
            self._rounds.pop(name, None)
        del self._active[name]
        if name in self._misdated:
            self._misdated.remove(name)
            due = -math.inf if due is not None and math.isfinite(due) else due
        if due is not None:
            self._enter(name, due)
        self._changed.set()

    async def _give_another_chance(self, name: str, error: UnreadableError) -> float | None:
        """Return when to try again to read an entry; set it aside if that is of no use, or was done often enough."""
        strikes = self._strikes.pop(name, 0) + 1
        if not error.may_pass or strikes == _MAX_STRIKES:
            await self._on_disk(self._queue.set_aside, name, error)
            return -math.inf if name in self._orders else None
        self._strikes[name] = strikes
        logger.warning("%s cannot be read now, and is tried again: %s", name, error)
        return self._config.clock() + self._config.schedule.first_hour

    async def _try(self, name: str) -> float | None:
        """Try an entry if it is due, or do with it what was ordered; return when it is next, None if it is gone, and
        infinity if it waits for a lane.

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
        self._active[name] = entry
        attempt = self._rounds.setdefault(name, _Round(now))
        if order is Order.RETURN:
            await self._record(name, with_reply({each.address: each for each in entry.waiting}, _ORDERED), NOTHING)
        await self._carried_out(name, order)
        if self._stopping or name in self._orders:  # by now
            return -math.inf
        entry = self._active[name] or entry
        ways = self._ways(entry, attempt)
        open_ways = [way for way in ways if self._takes_more(way)]
        if ways and not open_ways:
            self._waiting.add(name, ways)
            return math.inf
        jobs = [Job(entry, ways[way], partial(self._record, name)) for way in open_ways]
        await self._work_off(dict(zip(open_ways, jobs, strict=True)))
        await self._save_what_was_not(name)
        for job in jobs:
            if job.unreadable is not None:
                raise job.unreadable
        if self._stopping:
            return None  # perhaps nothing was tried; what was done is on disk, and concluded by the next run
        entry = self._active[name] or entry
        # Nobody waits for those to whom it is a long way, nor an order for a second attempt to note what came of it.
        if len(open_ways) < len(ways) or name in self._orders:
            attempt.tried.update(open_ways)
            await self._on_disk(self._save, entry)
            return -math.inf
        return await self._conclude(entry, self._rounds.pop(name))

    async def _load(self, name: str) -> Entry | None:
        """Return an entry as things stand, None if it is gone; also if it cannot be read, but is to be removed."""
        try:
            await self._save_what_was_not(name)
            return await self._on_disk(self._queue.load, name)
        except (OSError, UnreadableError):
            if self._orders.get(name) is not Order.REMOVE:
                raise
            return self._unsaved.get(name)

    async def _remove(self, name: str, entry: Entry | None) -> None:
        """Forget an entry that is to be removed, and the order for one that is gone."""
        if self._orders.get(name) is Order.REMOVE:
            await self._on_disk(self._queue.remove, name)
            self._unsaved.pop(name, None)
        if entry is not None:
            now = self._config.clock()
            for recipient in entry.recipients:
                if recipient.action in (None, Action.FAILED):  # and not who has it, of which nobody is told now
                    self._config.tell(attempt_at(entry, recipient.address, Fate.REMOVED, _ORDERED, NOTHING, now))
        await self._carried_out(name, self._orders.get(name))

    def _ways(self, entry: Entry, attempt: _Round) -> dict[Way, list[Pending]]:
        """Return where an entry is still to be sent in this attempt, and for whom."""
        ways: defaultdict[Way, list[Pending]] = defaultdict(list)
        for recipient in entry.waiting:
            ways[self._config.way_to(recipient.address)].append(recipient)
        return {way: recipients for way, recipients in ways.items() if way not in attempt.tried}

    async def _work_off(self, jobs: Mapping[Way, Job]) -> None:
        """Have jobs done, all at a time."""
        for way, job in jobs.items():
            self._lane(way).jobs.append(job)
        for job in jobs.values():
            await job.done.wait()

    def _lane(self, way: Way) -> Lane:
        if way not in self._lanes:
            self._lanes[way] = Lane(way, self._config, self._queue, self._slots, self._tasks.create_task)
            self._tasks.create_task(self._drive(way, self._lanes[way]))
        return self._lanes[way]

    async def _drive(self, way: Way, lane: Lane) -> None:
        try:
            await lane.run()
        except Exception as error:
            place = one_line(way) if isinstance(way, str) else way.place
            logger.error("the way to %s failed: %s", place, error, exc_info=not isinstance(error, OSError))
        finally:
            del self._lanes[way]
            for job in lane.jobs:
                job.done.set()
            self._call_in(way)

    async def _record(self, name: str, changes: Changes, heard: Heard) -> None:
        """Keep what has become of some recipients; on disk, if nothing is to be sent to them any more."""
        entry = self._active[name]
        if entry is not None:
            self._tell(entry, changes, heard)
            self._active[name] = entry = entry.changed(changes)
            if any(change is None or change.action is not None for change in changes.values()):
                await self._on_disk(self._save, entry)

    def _tell(self, entry: Entry, changes: Changes, heard: Heard) -> None:
        """Tell whose fate is certain. Of the others the last word is told, at the end of the attempt."""
        deferred = self._rounds[entry.name].deferred
        for address, change in changes.items():
            attempt = attempt_with(entry, address, change, heard, self._config.clock())
            if attempt.fate is Fate.DEFERRED:
                deferred[address] = attempt
            else:
                deferred.pop(address, None)
                self._config.tell(attempt)

    def _save(self, entry: Entry) -> None:
        """Note on disk what has become of an entry; if that fails it is remembered, to be noted first of all."""
        self._unsaved[entry.name] = entry
        self._queue.save(entry)
        del self._unsaved[entry.name]

    async def _save_what_was_not(self, name: str) -> None:
        """Note what could not be noted before: who has the message is not to get it again."""
        if name in self._unsaved:
            await self._on_disk(self._save, self._unsaved[name])

    async def _conclude(self, entry: Entry, attempt: _Round) -> float | None:
        """Tell the sender what he is to be told, and put off what is left; return until when, None if nothing is."""
        if not entry.recipients:
            return None
        begun = attempt.begun if attempt.deferred else None
        reports, rest = conclude(entry, begun, self._config.clock(), self._config.schedule)
        await self._on_disk(self._settle, entry, reports, rest)
        left = {recipient.address for recipient in rest.recipients}
        for address, told in attempt.deferred.items():
            self._config.tell(told if address in left else replace(told, fate=Fate.BOUNCED))
        return rest.due if rest.recipients else None

    def _settle(self, entry: Entry, reports: list[Report], rest: Entry) -> None:
        """Put the notice into the queue, and then forget what it tells.

        Should a crash come in between, it replaces itself, for its name is the same again, unless it is on its way.
        """
        if reports:
            self._notify(entry, reports)
        self._save(rest)

    def _notify(self, entry: Entry, reports: list[Report]) -> None:
        now = self._config.clock()
        name = f"{entry.name}.{entry.notices}"
        while name in self._active:  # from before a crash, and on its way: what it does not tell needs another one
            name += ".0"
        if len(name) > MAX_NAME:  # the price is that a crash may have it told twice
            name = new_name()
        with self._queue.open(entry.name, entry.size) as message:
            notice = write_notice(entry, reports, message, name=name, hostname=self._config.hostname, now=now)
        if notice is not None:
            entry, content = notice
            self._queue.add(entry, [content])
            self.wake(name)
            return
        for report in reports:
            if report.action is Action.FAILED:
                to, reply = one_line(format_path(report.address)), one_line(str(report.reply))
                logger.warning("%s: undeliverable to %s, and nobody to be told: %s", entry.name, to, reply)

    async def _on_disk(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call what waits for the disk, beside the loop. Once begun it is done, even if nobody waits any more."""
        future = asyncio.get_running_loop().run_in_executor(self._disk, function, *arguments)
        return await asyncio.shield(future)
