"""The way to one domain: its hosts in their order, one connection at a time, and the messages one after another.

They are not pipelined into each other: what a host has said of a message is on disk before the next one begins, so
that a crash repeats at most the one that was under way, which nobody can help (RFC 1047).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from mailproto.aio.smtp import SMTPClient
from mailproto.errors import MailProtoError
from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.queue import Queue
from mailproto.relay.transfer import Changes, Message, transfer, with_reply
from mailproto.relay.unreadable import UnreadableError
from mailproto.smtp.reply import Reply, ReplyError
from mailproto.smtp.routing import UNROUTABLE, RoutingError, hosts_for, literal_host, lookup_name

logger = logging.getLogger("mailproto")

_IN_MEMORY = 1 << 20  # octets of a message that can leave in one flight with its envelope


class Target(NamedTuple):
    """A host, and one of its addresses."""

    host: str
    address: str


class Job:
    """A message for the recipients in one domain.

    Attributes:
        entry: the message.
        recipients: those to whom it is still to be sent in this attempt.
        done: set when the attempt is over.
        unreadable: why the message cannot be read, if it cannot.
    """

    def __init__(self, entry: Entry, recipients: list[Pending], record: Callable[[Changes], Awaitable[None]]) -> None:
        self.entry = entry
        self.recipients = {recipient.address: recipient for recipient in recipients}
        self.done = asyncio.Event()
        self.unreadable: UnreadableError | None = None
        self._record = record

    async def note(self, changes: Changes) -> None:
        """Keep what has become of some recipients. Those who wait on stay in this attempt."""
        for address, change in changes.items():
            if change is not None and change.action is None:
                self.recipients[address] = change
            else:
                del self.recipients[address]
        await self._record(changes)

    async def note_all(self, reply: Reply, remote_mta: str | None = None) -> None:
        """Keep one reply for all of them: they have failed if it is permanent, and wait on if not."""
        await self.note(with_reply(self.recipients, reply, remote_mta))


class Lane:
    """Works off the jobs for one domain.

    Attributes:
        jobs: those that are left; more may be added at any time before `run` is over.
        begun: whether `run` was called.
    """

    def __init__(self, domain: str, config: RelayConfig, queue: Queue) -> None:
        self.jobs: deque[Job] = deque()
        self.begun = False
        self._domain = domain
        self._config = config
        self._queue = queue
        self._again: list[Job] = []  # those that the host now asked has not ended
        self._dropped = False
        self._not_found: Reply | None = None  # why there is a host that could not be tried

    def __len__(self) -> int:
        """Return how many jobs are not done."""
        return len(self.jobs) + len(self._again)

    async def run(self) -> None:
        """Try one target after another, until none of them or no job is left."""
        self.begun = True
        try:
            targets = await self._find_targets()
        except RoutingError as error:
            await self._finish(error.reply)
            return
        refusals = []
        for target in targets:
            if self.jobs and not self._dropped:
                refusals.append(await self._use(target))
        last = refusals[-1] if refusals else None
        if last is not None and all(refusals):  # wherever one knocks nobody takes mail (RFC 7504 section 4)
            if self._not_found is not None:
                await self._finish(self._not_found)
            else:
                await self._finish(last, targets[-1].host)

    def drop(self) -> None:
        """End the jobs that were not begun, and begin none any more."""
        self._dropped = True
        while self.jobs:
            self.jobs.popleft().done.set()

    async def _finish(self, reply: Reply, remote_mta: str | None = None) -> None:
        """End all jobs with this reply."""
        while self.jobs:
            job = self.jobs.popleft()  # at once: it is begun, and no longer to be dropped
            try:
                await job.note_all(reply, remote_mta)
            finally:
                job.done.set()

    async def _find_targets(self) -> list[Target]:
        """Return the hosts that take mail for the domain, at each of their addresses."""
        literal = literal_host(self._domain)
        if literal is not None:
            return [Target(self._domain, literal)]
        config = self._config
        name = lookup_name(self._domain, config.idna_encode)
        records = await config.resolver.mx(name)
        targets: list[Target] = []
        failure: RoutingError | None = None
        for host in hosts_for(name, records, shuffle=config.shuffle, own_names=[config.hostname]):
            if len(targets) < config.max_targets:
                try:
                    targets += [Target(host, address) for address in await config.resolver.addresses(host)]
                except RoutingError as error:  # which is no reason not to try the others
                    if failure is None or error.reply.temporary:
                        failure = error
        if not targets:
            raise failure or RoutingError(UNROUTABLE)
        if failure is not None and failure.reply.temporary:
            self._not_found = failure.reply
        return targets[: config.max_targets]

    async def _use(self, target: Target) -> Reply | None:
        """Send to this host what it takes; return its reply if it says for good that it takes nothing."""
        progress = True
        try:
            while self.jobs and progress:
                try:
                    client = await self._config.connect(*target)
                except (MailProtoError, OSError) as error:
                    return await self._not_reached(target, error)
                try:
                    progress = await self._send_all(client, target)
                    left = len(self.jobs)
                    with suppress(MailProtoError, OSError):
                        await client.quit()
                finally:
                    await client.close()
                progress = progress or len(self.jobs) > left  # who has come meanwhile is to be tried
        finally:
            self.jobs.extend(self._again)
            self._again.clear()
        return None

    async def _not_reached(self, target: Target, error: Exception) -> Reply | None:
        """Note for all jobs why there is no connection; return the reply if it is for good."""
        if not isinstance(error, ReplyError):
            reply, remote = Reply.build(451, f"{target.host} cannot be reached: {error}", "4.4.1"), None
        elif error.reply.permanent:
            return error.reply
        else:
            reply, remote = error.reply, target.host
        for job in tuple(self.jobs):
            await job.note_all(reply, remote)
        return None

    async def _send_all(self, client: SMTPClient, target: Target) -> bool:
        """Send over one connection as long as it lasts, note what is to be sent again, and say whether any went."""
        progress = False
        while self.jobs and not (client.conn.over or client.conn.exhausted):
            job = self.jobs.popleft()
            self._again.append(job)  # at once, so that it is not lost whatever happens
            before = len(job.recipients)
            await self._send(client, target, job)
            if not job.recipients:
                self._again.remove(job)
                job.done.set()
                progress = True
            elif (progress and client.conn.over) or _were_too_many(job, before):
                self._again.remove(job)
                self.jobs.appendleft(job)  # other messages, or recipients, have used up what this one now has
                progress = True
        return progress

    async def _send(self, client: SMTPClient, target: Target, job: Job) -> None:
        try:
            message = await asyncio.to_thread(self._open, job.entry)
            try:
                done = await transfer(client, target.host, job.entry, job.recipients, message)
            finally:
                if not isinstance(message.content, bytes):
                    message.content.close()
        except UnreadableError as error:
            job.unreadable = error
            job.recipients.clear()
            return
        except OSError as error:  # of opening it, for the network's stand in the result
            logger.error("%s cannot be read now: %s", job.entry.name, error)
            job.recipients.clear()
            return
        await job.note(done.changes)
        for address in done.unknown:
            del job.recipients[address]

    def _open(self, entry: Entry) -> Message:
        """Return a message, in memory if it is small."""
        file = self._queue.open(entry.name, entry.size)
        size = os.fstat(file.fileno()).st_size
        if size > _IN_MEMORY:
            return Message(file, size)
        with file:
            return Message(file.read(), size)


def _were_too_many(job: Job, before: int) -> bool:
    """Say whether the host has taken so many recipients as it takes at a time (RFC 5321 section 4.5.3.1.10)."""
    left = job.recipients.values()
    return len(left) < before and all(each.reply is not None and each.reply.code == 452 for each in left)
