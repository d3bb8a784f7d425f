"""The relay: works a queue off, over asyncio, and tells senders what became of their mail.

It is made of these parts, each of which knows only those below it:

    Relay        when each entry is seen to, from the start of a run to its end
    Dispatcher   what is then done with it, and that it waits where there is no room
    Round        one attempt at one entry, until its sender is told what he is to be told
    Lanes        the ways that mail takes just now, each a Lane: its hosts, and the connections to them
    OrderBook    what the operator has ordered
    Disk         what of all this is on disk
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from mailproto._core.checks import check_kind
from mailproto.relay.agenda import Agenda
from mailproto.relay.config import RelayConfig
from mailproto.relay.disk import Disk
from mailproto.relay.dispatch import Dispatcher
from mailproto.relay.orderbook import OrderBook
from mailproto.relay.queue import Queue

logger = logging.getLogger("mailproto")

_POLL = 60.0  # seconds between two looks for what other processes have added
_POLL_ORDERS = 1.0  # and for what they have ordered, for somebody waits


class Relay:
    """Sends what is in a queue to where it belongs (RFC 5321 sections 3.6 and 4.5.4.1)::

        relay = Relay(queue, RelayConfig(hostname="relay.example.org", resolver=resolver))
        handler = RelayHandler(queue, postmaster=root, trusted=["192.0.2.0/24"], queued=relay.wake)
        async with aio.SMTPServer(aio.InThreads(handler, "on_message"), port=587, tls=context):
            await relay.run()

    It need not be in the process of the server: what others add to the queue it finds by itself.
    """

    def __init__(self, queue: Queue, config: RelayConfig) -> None:
        check_kind("queue", queue, Queue)
        check_kind("config", config, RelayConfig)
        self._queue = queue
        self._config = config
        self._agenda = Agenda()
        self._disk = Disk(queue)
        self._orders = OrderBook(queue.orders, self._disk)
        self._dispatcher = Dispatcher(
            queue, config, self._disk, self._orders, spawn=self._spawn, called=self._put_first, added=self.wake
        )
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit: asyncio.Timeout | None = None
        self._changed = asyncio.Event()
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

    def run(self) -> Coroutine[Any, Any, None]:
        """Work the queue off until `stop`. If it is cancelled, messages under way are sent again by the next run.

        Raises:
            QueueInUseError: another relay works this queue off, or this one does already, which goes on.
            OSError: the queue cannot be read to begin with. Later on that is logged, and passes.
        """
        return self._started(forever=True)

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way is through, or has taken too long, and at once if
        it was called, but has not come to its first step. The rest is for the next run."""
        if self._limit is not None and not self._stopping:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._config.grace)
        self._stopping = True
        self._dispatcher.stop()
        self._changed.set()

    def attempt_due(self) -> Coroutine[Any, Any, None]:
        """Try what is due now, and the notices that come of it, and return when that is done; raise as `run`."""
        return self._started(forever=False)

    def _started(self, *, forever: bool) -> Coroutine[Any, Any, None]:
        """Return a run that may be stopped from now on. Who has stopped one before did not mean this one."""
        if self._limit is None:  # else there is one already, which goes on as it does
            self._stopping = False
        return self._work(forever=forever)

    async def _work(self, *, forever: bool) -> None:
        """Work until there is nothing more to do, or it takes too long to stop."""
        with self._queue.reserved():  # first of all: this relay may be the one that works it off
            try:
                async with asyncio.timeout(None) as limit:
                    self._limit = limit
                    await self._begin(forever=forever)
            except TimeoutError:
                if not limit.expired():
                    raise
                logger.warning("what was under way was cut off, and is sent again by the next run")
            finally:
                self._limit = None

    async def _begin(self, *, forever: bool) -> None:
        self._loop = asyncio.get_running_loop()
        for state in (self._agenda, self._orders, self._dispatcher):
            state.clear()  # what a cancelled run has left
        self._changed = asyncio.Event()  # of this loop
        with self._disk.thread():
            await self._look()
            await self._take_orders()  # before anything is sent: it may be what is to be removed
            async with asyncio.TaskGroup() as self._tasks:
                await self._go_on(self._loop.time, forever=forever)

    async def _go_on(self, clock: Callable[[], float], *, forever: bool) -> None:
        """See to what is due, and have a look at the disk now and then, until there is nothing more to do."""
        next_look, next_orders = clock() + _POLL, clock() + _POLL_ORDERS
        while True:
            self._changed.clear()
            if clock() >= next_look:
                await self._is_readable(self._look)
                next_look = clock() + _POLL
            if clock() >= next_orders:
                readable = await self._is_readable(self._take_orders)
                next_orders = clock() + (_POLL_ORDERS if readable else _POLL)
            self._start_due()
            waits = forever or self._dispatcher.someone_waits
            if not self._dispatcher.active and (self._stopping or not waits):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._idle_time(), min(next_look, next_orders) - clock())):
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
        for name in await self._disk.do(self._queue.names):
            self._enter(name)
        self._dispatcher.call_in_left_behind()

    async def _take_orders(self) -> None:
        """See to what is ordered for entries."""
        for name, order in (await self._orders.read()).items():
            self._dispatcher.heed(name, order)

    def _enter(self, name: str, due: float = -math.inf) -> None:
        """Put an entry on the agenda; a new one is seen to at once, and then tells itself when it is due."""
        if not (name in self._agenda or name in self._dispatcher):
            self._agenda.put(name, due)
            self._changed.set()

    def _put_first(self, name: str) -> None:
        """Put an entry on the agenda, or move it there, to be seen to at once."""
        self._agenda.put(name, -math.inf)
        self._changed.set()

    def _start_due(self) -> None:
        now = self._config.clock()
        if now < self._seen - _POLL:  # the clock has been set back: each tells anew when it is due
            self._agenda.bring_forward()
            self._misdated.update(self._dispatcher.active)
        self._seen = now
        while not self._full and self._agenda.next_due() <= now:
            name = self._agenda.take()
            self._dispatcher.active.add(name)
            self._spawn(self._see_to(name))

    def _idle_time(self) -> float:
        """Return the seconds in which nothing is to be begun, if nothing changes."""
        return math.inf if self._full else self._agenda.next_due() - self._config.clock()

    @property
    def _full(self) -> bool:
        return self._stopping or self._dispatcher.full

    async def _see_to(self, name: str) -> None:
        """Have one entry seen to, and put it on the agenda again if something is left to be done."""
        due = await self._dispatcher.see_to(name)
        if name in self._misdated:
            self._misdated.remove(name)
            due = -math.inf if due is not None and math.isfinite(due) else due
        if due is not None:
            self._enter(name, due)
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._tasks.create_task(work)
