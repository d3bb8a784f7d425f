"""One attempt at an entry, on all of its ways, until it is concluded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mailproto.address import Address
from mailproto.relay.attempt import Attempt, Fate
from mailproto.relay.config import RelayConfig
from mailproto.relay.disk import Disk
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.job import NOTHING, Heard, Job
from mailproto.relay.notices import Notices
from mailproto.relay.route import Way
from mailproto.relay.schedule import conclude
from mailproto.relay.telling import attempt_with
from mailproto.relay.transfer import Changes, with_reply
from mailproto.smtp.notices import Report
from mailproto.smtp.reply import Reply


class Round:
    """An attempt at an entry. If some of its ways are full it is made in parts.

    Attributes:
        entry: what has become of the message so far.

    Args:
        entry: the entry as it is when the attempt begins.
        begun: the time when it does.
        config: that of the relay.
        disk: where it is noted what has become of the entry.
        notices: what tells the sender of it.
    """

    def __init__(self, entry: Entry, begun: float, config: RelayConfig, disk: Disk, notices: Notices) -> None:
        self.entry = entry
        self._begun = begun
        self._config = config
        self._disk = disk
        self._notices = notices
        self._tried: set[Way] = set()  # the ways that are through
        self._deferred: dict[Address, Attempt] = {}  # the last word on each recipient who waits on

    def ways(self) -> dict[Way, list[Pending]]:
        """Return where the message is still to be sent in this attempt, and for whom."""
        ways: defaultdict[Way, list[Pending]] = defaultdict(list)
        for recipient in self.entry.waiting:
            ways[self._config.way_to(recipient.address)].append(recipient)
        return {way: recipients for way, recipients in ways.items() if way not in self._tried}

    def job(self, recipients: list[Pending]) -> Job:
        """Return the job of sending the message to these recipients."""
        return Job(self.entry, recipients, self.record)

    async def give_up(self, reply: Reply) -> None:
        """Send it to nobody any more, for this reason."""
        await self.record(with_reply({each.address: each for each in self.entry.waiting}, reply), NOTHING)

    async def record(self, changes: Changes, heard: Heard) -> None:
        """Keep what has become of some recipients; on disk, if nothing is to be sent to them any more."""
        self._tell(changes, heard)
        self.entry = self.entry.changed(changes)
        if any(change is None or change.action is not None for change in changes.values()):
            await self._disk.save(self.entry)

    def _tell(self, changes: Changes, heard: Heard) -> None:
        """Tell whose fate is certain. Of the others the last word is told, at the end of the attempt."""
        for address, change in changes.items():
            attempt = attempt_with(self.entry, address, change, heard, self._config.clock())
            if attempt.fate is Fate.DEFERRED:
                self._deferred[address] = attempt
            else:
                self._deferred.pop(address, None)
                self._config.tell(attempt)

    async def interrupt(self, tried: Sequence[Way]) -> None:
        """Leave it for now: these ways are through, and nobody waits for those to whom it is a long way."""
        self._tried.update(tried)
        await self._disk.save(self.entry)

    async def conclude(self) -> float | None:
        """Tell the sender what he is to be told, and put off what is left; return until when, None if nothing is."""
        if not self.entry.recipients:
            return None
        begun = self._begun if self._deferred else None
        reports, rest = conclude(self.entry, begun, self._config.clock(), self._config.schedule)
        await self._disk.do(self._settle, reports, rest)
        left = {recipient.address for recipient in rest.recipients}
        for address, told in self._deferred.items():
            self._config.tell(told if address in left else replace(told, fate=Fate.BOUNCED))
        return rest.due if rest.recipients else None

    def _settle(self, reports: Sequence[Report], rest: Entry) -> None:
        """Put the notice into the queue, and only then forget what it tells."""
        if reports:
            self._notices.add(self.entry, reports)
        self._disk.note(rest)
