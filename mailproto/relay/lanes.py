"""The lanes that there are, one for each way that mail takes just now, and how much room is in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Set

from mailproto.relay.attempt import one_line
from mailproto.relay.config import RelayConfig
from mailproto.relay.job import Job
from mailproto.relay.lane import Lane, Spawn
from mailproto.relay.queue import Queue
from mailproto.relay.route import Way
from mailproto.relay.slots import Slots

logger = logging.getLogger("mailproto")


class Lanes:
    """The lanes of a relay, each there while it has jobs.

    Args:
        config: that of the relay.
        queue: where the messages are.
        spawn: makes a task of a coroutine, which ends with the relay.
        ended: called with the way of each lane that has ended.
    """

    def __init__(self, config: RelayConfig, queue: Queue, spawn: Spawn, ended: Callable[[Way], None]) -> None:
        self._config = config
        self._queue = queue
        self._spawn = spawn
        self._ended = ended
        self._slots = Slots(config.max_connections)
        self._lanes: dict[Way, Lane] = {}

    def clear(self) -> None:
        """Forget those that a cancelled run has left before they began, and begin in the loop of this one."""
        self._lanes.clear()
        self._slots = Slots(self._config.max_connections)

    @property
    def ways(self) -> Set[Way]:
        """The ways that have one."""
        return self._lanes.keys()

    def takes_more(self, way: Way, room: int) -> bool:
        """Say whether there is room in the lane for a way, if there is so much ``room`` for entries altogether.

        So that no number of messages for one that is slow holds up those for another, it takes no more than there is
        room left for all others; nor, once it has begun, while others wait to begin. Lest what it has put off never
        comes to be tried again, it ends now and then, however much there is for it.
        """
        lane = self._lanes.get(way)
        if lane is None:
            return True
        others_wait = len(self._lanes) > self._config.max_connections
        closed = asyncio.get_running_loop().time() >= lane.closes
        return len(lane) < room and not (closed or (lane.begun and others_wait))

    async def work_off(self, jobs: Mapping[Way, Job]) -> None:
        """Have jobs done, all at a time."""
        for way, job in jobs.items():
            self._lane(way).jobs.append(job)
        for job in jobs.values():
            await job.done.wait()

    def withdraw(self, name: str) -> None:
        """End the jobs for the entry of this name; those that are under way, behind that."""
        for lane in self._lanes.values():
            lane.withdraw(name)

    def drop(self) -> None:
        """End all jobs that were not begun, and begin none any more."""
        for lane in self._lanes.values():
            lane.drop()

    def _lane(self, way: Way) -> Lane:
        if way not in self._lanes:
            self._lanes[way] = Lane(way, self._config, self._queue, self._slots, self._spawn)
            self._spawn(self._drive(way, self._lanes[way]))
        return self._lanes[way]

    async def _drive(self, way: Way, lane: Lane) -> None:
        late: list[Job] = []
        try:
            await lane.run()
            late = lane.latecomers
        except Exception as error:
            place = one_line(way) if isinstance(way, str) else way.place
            logger.error("the way to %s failed: %s", place, error, exc_info=not isinstance(error, OSError))
        finally:
            del self._lanes[way]
            for job in lane.jobs:
                if job not in late:
                    job.done.set()
            self._ended(way)
        for job in late:
            self._lane(way).jobs.append(job)
