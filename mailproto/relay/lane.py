"""The way to one domain, or over one route: its hosts in their order, one connection, or a few where many messages
wait, and on each the messages one after another.

They are not pipelined into each other: what a host has said of a message is on disk before the next one begins, so
that a crash repeats at most those that were under way, one for each connection, which nobody can help (RFC 1047).
Which hosts there are is found in `mailproto.relay.targets`; how one message goes to one host, in
`mailproto.relay.transfer`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from mailproto.aio.smtp import SMTPClient
from mailproto.errors import AuthenticationError, ConnectionTimeoutError, MailProtoError
from mailproto.relay.config import RelayConfig
from mailproto.relay.connecting import connect
from mailproto.relay.entry import Entry
from mailproto.relay.job import NOTHING, Heard, Job
from mailproto.relay.queue import Queue
from mailproto.relay.route import Target, Way
from mailproto.relay.slots import Slots
from mailproto.relay.targets import find_targets
from mailproto.relay.transfer import Message, Transfer, transfer
from mailproto.relay.unreadable import UnreadableError
from mailproto.smtp.reply import EnhancedStatus, Reply, ReplyError
from mailproto.smtp.routing import RoutingError

logger = logging.getLogger("mailproto")

_IN_MEMORY = 1 << 20  # octets of a message that can leave in one flight with its envelope
_SLOWEST = 10_000  # octets a second that a host has to take of a long message
_MANY = 25  # messages that wait for each connection, before one more is worth its while
_GOODBYE = 30.0  # seconds that a host has to answer QUIT
_OPEN = 600.0  # seconds in which more may come: those that were put off wait for the end

Spawn = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Lane:
    """Works off the jobs for one way.

    Attributes:
        jobs: those that are left; more may be added at any time before `run` is over.
        begun: whether it has had its turn.
        closes: when it is to take no more, by the clock of the loop.

    Args:
        way: where it leads.
        config: that of the relay.
        queue: where the messages are.
        slots: one for each connection that the relay may have. Who waits for one gets it in his turn.
        spawn: makes a task of a coroutine, which ends with the relay.
    """

    def __init__(self, way: Way, config: RelayConfig, queue: Queue, slots: Slots, spawn: Spawn) -> None:
        self.jobs: deque[Job] = deque()
        self.begun = False
        self.closes = math.inf
        self._way = way
        self._config = config
        self._queue = queue
        self._slots = slots
        self._spawn = spawn
        self._helpers: list[asyncio.Task[bool]] = []  # each with a connection beside the first one
        self._alone = False  # for the host has refused another connection
        self._failure: Exception | None = None  # of one of them
        self._again: list[Job] = []  # those that the host now asked has not ended
        self._waits: set[asyncio.Timeout] = set()  # for connections to be there
        self._hosts: set[str | None] = set()  # all on the way; None is one that could not be found now
        self._dropped = False

    def __len__(self) -> int:
        """Return how many jobs are not done."""
        return len(self.jobs) + len(self._again)

    async def run(self) -> None:
        """Try one target after another, until none of them or no job is left."""
        try:
            async with self._slots:
                self.begun = True
                self.closes = asyncio.get_running_loop().time() + _OPEN
                if not self.jobs:  # they were dropped meanwhile
                    return
                targets, missing = await find_targets(self._way, self._config)
                self._hosts = {target.host for target in targets} | ({None} if missing is not None else set())
        except RoutingError as error:
            await self._finish(error.reply, NOTHING)
            return
        refusals = []
        for target in targets:
            if self.jobs and not self._dropped:
                refusals.append(await self._use(target))
        last = refusals[-1] if refusals else None
        if last is not None and len(refusals) == len(targets) and all(refusals):
            # Wherever one knocks nobody takes mail (RFC 7504 section 4).
            if missing is not None:
                await self._finish(missing, NOTHING)
            else:
                await self._finish(last, Heard(targets[-1].place), targets[-1].host)

    @property
    def latecomers(self) -> list[Job]:
        """Those who are left since they came when the hosts that would have taken them were done with."""
        return [job for job in self.jobs if not job.heard]

    def drop(self) -> None:
        """End the jobs that were not begun, and begin none any more: not to wait for a host either."""
        self._dropped = True
        for deadline in self._waits:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())
        while self.jobs:
            self.jobs.popleft().done.set()

    def withdraw(self, name: str) -> None:
        """End the jobs for the entry of this name; one that is under way, behind that."""
        for jobs in (self.jobs, self._again):
            for job in [job for job in jobs if job.entry.name == name]:
                job.withdrawn = True
                if not job.under_way:
                    jobs.remove(job)
                    job.done.set()

    async def _finish(self, reply: Reply, heard: Heard, remote_mta: str | None = None) -> None:
        """End all jobs with this reply."""
        while self.jobs:
            job = self.jobs.popleft()  # at once: it is begun, and no longer to be dropped
            try:
                await job.note_all(reply, heard, remote_mta)
            finally:
                job.done.set()

    async def _use(self, target: Target) -> Reply | None:
        """Send to this host what it takes; return its reply if it says for good that it takes nothing."""
        self._alone = False
        try:
            refusal, progress = None, True
            while self.jobs and progress and refusal is None:
                async with self._slots:
                    if self.jobs:  # else they were dropped meanwhile
                        refusal, progress = await self._visit(target)
                progress |= await self._helped()
        finally:
            try:
                await self._helped()  # all of them, before what they have begun goes elsewhere
            finally:
                self.jobs.extend(self._again)
                self._again.clear()
        return refusal

    async def _visit(self, target: Target) -> tuple[Reply | None, bool]:
        """Send over a first connection; return the refusal for good, if there is one, and whether to come again."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            client = await self._connect(target)
        except (MailProtoError, OSError) as error:
            return await self._not_reached(target, error, clock() - begun), False
        # What made the host hang up is put off behind those that it held up, and not to be before them once more.
        self.jobs = deque(sorted(self.jobs, key=lambda job: job.due))
        progress = await self._talk(client, target, self._config.turn)
        if not progress:
            reply = Reply.build(451, f"{target.place} ended the connection before it took a message", "4.4.2")
            await self._put_off(reply, Heard(target.place, clock() - begun))
        return None, progress

    def _get_help(self, target: Target) -> None:
        """Have one more connection opened, if many messages wait, and nobody else wants its place."""
        count = 1 + sum(not helper.done() for helper in self._helpers)
        wanted = count < self._config.max_connections_each and len(self.jobs) > _MANY * count
        if wanted and self._slots.free and not self._alone:
            self._helpers.append(self._spawn(self._help(target)))

    async def _help(self, target: Target) -> bool:
        """Send over one more connection until somebody else wants its place; return whether to come again."""
        try:
            async with self._slots:
                if not self.jobs:
                    return False
                try:
                    client = await self._connect(target)
                except (MailProtoError, OSError):  # which says nothing of the messages: there is the first one
                    self._alone = True
                    return False
                return await self._talk(client, target, turn=0, beside=True)
        except Exception as error:  # which ends this way, and not all of the relay
            self._failure = error
            return False

    async def _helped(self) -> bool:
        """Wait until only the first connection is left; return whether to come again."""
        progress = False
        while self._helpers:
            progress |= await self._helpers.pop()
        if self._failure is not None:
            raise self._failure
        return progress

    async def _talk(self, client: SMTPClient, target: Target, turn: float, *, beside: bool = False) -> bool:
        """Send what one connection takes, and take leave; return whether to come again."""
        before = set(self.jobs)
        try:
            progress = await self._send_all(client, target, turn, beside=beside)
            with suppress(MailProtoError, OSError):
                async with asyncio.timeout(_GOODBYE):
                    await client.quit()
        finally:
            await client.close()
        return progress or not before.issuperset(self.jobs)  # who has come meanwhile is to be tried

    async def _connect(self, target: Target) -> SMTPClient:
        limit = self._config.attempt_timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                self._waits.add(deadline)
                return await connect(target, self._config)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise ConnectionTimeoutError(f"no session within {limit:g} seconds") from error
        finally:
            self._waits.discard(deadline)

    async def _not_reached(self, target: Target, error: Exception, duration: float) -> Reply | None:
        """Note for all jobs why there is no connection; return the reply if it is for good."""
        if isinstance(error, RoutingError) and error.reply.temporary:  # the relay's own word on this host
            reply, remote = error.reply, None
        elif isinstance(error, AuthenticationError):
            reply, remote = Reply.build(451, f"login at {target.place} failed: {error}", "4.7.0"), None
        elif not isinstance(error, ReplyError):
            reply, remote = Reply.build(451, f"{target.place} cannot be reached: {error}", "4.4.1"), None
        elif error.reply.permanent:
            return error.reply
        else:
            reply, remote = error.reply, target.host
        await self._put_off(reply, Heard(target.place, duration), remote)
        return None

    async def _put_off(self, reply: Reply, heard: Heard, remote_mta: str | None = None) -> None:
        """Note a temporary reply for all jobs that were not begun."""
        for job in tuple(self.jobs):
            await job.note_all(reply, heard, remote_mta)

    async def _send_all(self, client: SMTPClient, target: Target, turn: float, *, beside: bool) -> bool:
        """Send over one connection as long as it lasts, note what is to be sent again, and say whether to go on.

        It lasts until its turn of so many seconds is over, too, if others wait for theirs. If it ends at the first
        message it says nothing of that where it is ``beside`` another one, which may be all that the host wants.
        """
        progress = False
        clock = asyncio.get_running_loop().time
        end_of_turn = clock() + turn
        while self.jobs and not (client.conn.over or client.conn.exhausted):
            self._get_help(target)
            job = self.jobs.popleft()
            self._again.append(job)  # at once, so that it is not lost whatever happens
            job.under_way = True
            done = await self._send(client, target, job)
            job.under_way = False
            hung_up = client.conn.over and not done.cut_off
            progress |= done.too_many
            if not job.recipients or job.withdrawn:
                self._again.remove(job)
                job.done.set()
            elif hung_up and not (progress or beside):
                break  # at the first one: the host may want none of them now
            elif not (self._dropped or done.cut_off) and (hung_up or done.too_many):
                self._again.remove(job)
                self._put_back(job, first=done.too_many)
                if not progress:
                    self._alone = True
                    break
            progress = True  # for those behind it, even if it was put off
            if clock() >= end_of_turn and self._slots.wanted:
                return True
        return progress

    def _put_back(self, job: Job, *, first: bool) -> None:
        """Have a message sent again to this host: at once to those of its recipients for whom others have used up the
        room, or behind all other messages, if the host hung up at it. They have used up the connection, or it is its
        fault, and would be theirs as well, if it came first on the next one."""
        if first:
            self.jobs.appendleft(job)
        else:
            job.due = self._config.clock()
            self.jobs.append(job)

    async def _send(self, client: SMTPClient, target: Target, job: Job) -> Transfer:
        """Send one message, note what came of it, and return that."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            message = await asyncio.to_thread(self._open, job.entry)
            limit = self._config.attempt_timeout + message.size / _SLOWEST
            try:
                done = await transfer(client, target, job.entry, job.recipients, message, limit)
            finally:
                if not isinstance(message.content, bytes):
                    message.content.close()
        except UnreadableError as error:
            job.unreadable = error
            job.recipients.clear()
            return Transfer({})
        except OSError as error:  # of opening it, for the network's stand in the result
            logger.error("%s cannot be read now: %s", job.entry.name, error)
            job.recipients.clear()
            return Transfer({})
        heard = Heard(target.place, clock() - begun, done.accepted)
        if done.unfit is not None:
            await self._note_unfit(job, target, done.unfit, heard)
        else:
            await job.note(done.changes, heard)
        for address in done.unknown:
            del job.recipients[address]
        return done

    async def _note_unfit(self, job: Job, target: Target, reply: Reply, heard: Heard) -> None:
        """Note that a host does not offer what a message needs. Unless none does, another one is tried, be it in a
        later attempt (RFC 5321 section 2.2.3)."""
        job.unfit.add(target.host)
        if self._hosts - job.unfit:
            reply = Reply(451, reply.text, EnhancedStatus(4, 6, 0))
        await job.note_all(reply, heard)

    def _open(self, entry: Entry) -> Message:
        """Return a message, in memory if it is small."""
        file = self._queue.open(entry.name, entry.size)
        size = os.fstat(file.fileno()).st_size
        if size > _IN_MEMORY:
            return Message(file, size)
        with file:
            return Message(file.read(), size)
