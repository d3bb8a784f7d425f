"""A message for those of its recipients to whom one way leads, and what is said of them there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mailproto.address import Address
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.transfer import Changes, with_reply
from mailproto.relay.unreadable import UnreadableError
from mailproto.smtp.reply import Reply


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


NOTHING = Heard()
"""What was heard where no host was asked."""

Record = Callable[[Changes, Heard], Awaitable[None]]


class Job:
    """A message for those of its recipients to whom one way leads.

    Attributes:
        entry: the message.
        recipients: those to whom it is still to be sent in this attempt.
        due: by this time it has its place among others.
        done: set when the attempt is over.
        under_way: whether it is just being sent.
        heard: whether anything was said of it, be it that nobody could be asked.
        withdrawn: whether it is to be sent to nobody any more.
        unreadable: why the message cannot be read, if it cannot.
        unfit: the hosts that cannot be given the message as it is.
    """

    def __init__(self, entry: Entry, recipients: list[Pending], record: Record) -> None:
        self.entry = entry
        self.recipients = {recipient.address: recipient for recipient in recipients}
        self.due = entry.due
        self.done = asyncio.Event()
        self.under_way = False
        self.heard = False
        self.withdrawn = False
        self.unreadable: UnreadableError | None = None
        self.unfit: set[str] = set()
        self._record = record

    async def note(self, changes: Changes, heard: Heard) -> None:
        """Keep what has become of some recipients. Those who wait on stay in this attempt."""
        self.heard = True
        for address, change in changes.items():
            if change is not None and change.action is None:
                self.recipients[address] = change
            else:
                del self.recipients[address]
        await self._record(changes, heard)

    async def note_all(self, reply: Reply, heard: Heard, remote_mta: str | None = None) -> None:
        """Keep one reply for all of them: they have failed if it is permanent, and wait on if not."""
        await self.note(with_reply(self.recipients, reply, remote_mta), heard)
