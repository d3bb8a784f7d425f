"""The way to one domain, or over one route: its hosts in their order, one connection, or a few where many messages
wait, and on each the messages one after another.

They are not pipelined into each other: what a host has said of a message is on disk before the next one begins, so
that a crash repeats at most those that were under way, one for each connection, which nobody can help (RFC 1047).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from mailproto.address import Address
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import ConnectionTimeoutError, MailProtoError
from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.queue import Queue
from mailproto.relay.route import Route, Target, Way, name_of
from mailproto.relay.slots import Slots
from mailproto.relay.transfer import Changes, Message, Transfer, transfer, with_reply
from mailproto.relay.unreadable import UnreadableError
from mailproto.smtp.reply import Reply, ReplyError
from mailproto.smtp.routing import (
    LOOKUP_FAILED,
    UNROUTABLE,
    Resolver,
    RoutingError,
    hosts_for,
    literal_host,
    lookup_name,
)

logger = logging.getLogger("mailproto")

_IN_MEMORY = 1 << 20  # octets of a message that can leave in one flight with its envelope
_SLOWEST = 10_000  # octets a second that a host has to take of a long message
_MANY = 25  # messages that wait for each connection, before one more is worth its while
_GOODBYE = 30.0  # seconds that a host has to answer QUIT


class Heard(NamedTuple):
    """What was said of some recipients.

    Attributes:
        host: the place of the host that was asked; None if none was.
        duration: the seconds that it took.
        accepted: the reply to the message, for those for whom it was taken.
    """

    host: str | None = None
    duration: float | None = None
    accepted: Mapping[Address, Reply] = MappingProxyType({})


Record = Callable[[Changes, Heard], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, bool]], asyncio.Task[bool]]


class Job:
    """A message for those of its recipients to whom one way leads.

    Attributes:
        entry: the message.
        recipients: those to whom it is still to be sent in this attempt.
        done: set when the attempt is over.
        under_way: whether it is just being sent.
        withdrawn: whether it is to be sent to nobody any more.
        unreadable: why the message cannot be read, if it cannot.
    """

    def __init__(self, entry: Entry, recipients: list[Pending], record: Record) -> None:
        self.entry = entry
        self.recipients = {recipient.address: recipient for recipient in recipients}
        self.done = asyncio.Event()
        self.under_way = False
        self.withdrawn = False
        self.unreadable: UnreadableError | None = None
        self._record = record

    async def note(self, changes: Changes, heard: Heard) -> None:
        """Keep what has become of some recipients. Those who wait on stay in this attempt."""
        for address, change in changes.items():
            if change is not None and change.action is None:
                self.recipients[address] = change
            else:
                del self.recipients[address]
        await self._record(changes, heard)

    async def note_all(self, reply: Reply, heard: Heard, remote_mta: str | None = None) -> None:
        """Keep one reply for all of them: they have failed if it is permanent, and wait on if not."""
        await self.note(with_reply(self.recipients, reply, remote_mta), heard)


class Lane:
    """Works off the jobs for one way.

    Attributes:
        jobs: those that are left; more may be added at any time before `run` is over.
        begun: whether it has had its turn.

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
        self._way = way
        self._config = config
        self._queue = queue
        self._slots = slots
        self._spawn = spawn
        self._helpers: list[asyncio.Task[bool]] = []  # each with a connection beside the first one
        self._alone = False  # for the host has refused another connection
        self._failure: Exception | None = None  # of one of them
        self._again: list[Job] = []  # those that the host now asked has not ended
        self._dropped = False
        self._not_found: Reply | None = None  # why there is a host that could not be tried

    def __len__(self) -> int:
        """Return how many jobs are not done."""
        return len(self.jobs) + len(self._again)

    async def run(self) -> None:
        """Try one target after another, until none of them or no job is left."""
        try:
            async with self._slots:
                self.begun = True
                targets = await self._find_targets() if self.jobs else []  # they may all have been dropped
        except RoutingError as error:
            await self._finish(error.reply, Heard())
            return
        refusals = []
        for target in targets:
            if self.jobs and not self._dropped:
                refusals.append(await self._use(target))
        last = refusals[-1] if refusals else None
        if last is not None and all(refusals):  # wherever one knocks nobody takes mail (RFC 7504 section 4)
            if self._not_found is not None:
                await self._finish(self._not_found, Heard())
            else:
                await self._finish(last, Heard(targets[-1].place), targets[-1].host)

    def drop(self) -> None:
        """End the jobs that were not begun, and begin none any more."""
        self._dropped = True
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

    async def _find_targets(self) -> list[Target]:
        """Return the host of the route, or those that take mail for the domain, at each of their addresses."""
        way, config = self._way, self._config
        if isinstance(way, Route):
            if way.path is not None:
                return [Target(config.hostname, way.place, route=way)]
            return [Target(name_of(way.host), way.host, route=way)]
        literal = literal_host(way)
        if literal is not None:
            return [Target(way, literal, way)]
        if config.resolver is None:
            raise RoutingError(UNROUTABLE)
        return await self._look_up(lookup_name(way, config.idna_encode), config.resolver)

    async def _look_up(self, domain: str, resolver: Resolver) -> list[Target]:
        """Return the hosts that take mail for a domain, at each of their addresses, as far as there is time: who owns
        the domain says how many hosts are to be found, and how slowly."""
        targets: list[Target] = []
        failures: list[Reply] = []
        try:
            async with asyncio.timeout(self._config.attempt_timeout):
                await self._collect(domain, resolver, targets, failures)
        except TimeoutError:
            failures.append(LOOKUP_FAILED)
        self._not_found = next((reply for reply in failures if reply.temporary), None)
        if not targets:
            raise RoutingError(self._not_found or next(iter(failures), UNROUTABLE))
        return targets[: self._config.max_targets]

    async def _collect(self, domain: str, resolver: Resolver, targets: list[Target], failures: list[Reply]) -> None:
        """Add the hosts that take mail for a domain to ``targets``, until they are enough, and to ``failures`` why
        some could not be found."""
        config = self._config
        records = await resolver.mx(domain)
        policy = await config.sts.policy(domain) if config.sts is not None else None
        for host in hosts_for(domain, records, shuffle=config.shuffle, own_names=[config.hostname]):
            try:
                addresses = await resolver.addresses(host)
                targets += [Target(host, address, domain, policy=policy) for address in addresses]
            except RoutingError as error:  # which is no reason not to try the others
                failures.append(error.reply)
            if len(targets) >= config.max_targets:
                return

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
                return await self._talk(client, target, turn=0)
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

    async def _talk(self, client: SMTPClient, target: Target, turn: float) -> bool:
        """Send what one connection takes, and take leave; return whether to come again."""
        try:
            progress = await self._send_all(client, target, turn)
            left = len(self.jobs)
            with suppress(MailProtoError, OSError):
                async with asyncio.timeout(_GOODBYE):
                    await client.quit()
        finally:
            await client.close()
        return progress or len(self.jobs) > left  # who has come meanwhile is to be tried

    async def _connect(self, target: Target) -> SMTPClient:
        limit = self._config.attempt_timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                return await self._config.connect(target)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise ConnectionTimeoutError(f"no session within {limit:g} seconds") from error

    async def _not_reached(self, target: Target, error: Exception, duration: float) -> Reply | None:
        """Note for all jobs why there is no connection; return the reply if it is for good."""
        if isinstance(error, RoutingError):  # the relay's own word: mail for this domain is not to go there
            reply, remote = error.reply, None
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

    async def _send_all(self, client: SMTPClient, target: Target, turn: float) -> bool:
        """Send over one connection as long as it lasts, note what is to be sent again, and say whether to go on.

        It lasts until its turn of so many seconds is over, too, if others wait for theirs.
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
            if not job.recipients or job.withdrawn:
                self._again.remove(job)
                job.done.set()
            elif not (self._dropped or done.cut_off) and ((progress and client.conn.over) or done.too_many):
                self._again.remove(job)
                self.jobs.appendleft(job)  # other messages, or recipients, have used up what this one now has
            elif client.conn.over and not done.cut_off:
                break  # at the first one: the host may want none of them now
            progress = True  # for those behind it, even if it was put off
            if clock() >= end_of_turn and self._slots.wanted:
                return True
        return progress

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
        await job.note(done.changes, Heard(target.place, clock() - begun, done.accepted))
        for address in done.unknown:
            del job.recipients[address]
        return done

    def _open(self, entry: Entry) -> Message:
        """Return a message, in memory if it is small."""
        file = self._queue.open(entry.name, entry.size)
        size = os.fstat(file.fileno()).st_size
        if size > _IN_MEMORY:
            return Message(file, size)
        with file:
            return Message(file.read(), size)
