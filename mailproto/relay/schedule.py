"""When a message is tried again, when its sender is told that it is late, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mailproto._core.checks import check_fields
from mailproto.errors import GrammarError
from mailproto.relay.entry import Entry, Pending
from mailproto.smtp.notices import Action, Report
from mailproto.smtp.reply import Reply

_EXPIRED = Reply.build(451, "It was tried for as long as mail is kept here", "4.4.7")
_STILL_TRYING = Reply.build(451, "It could not be sent yet", "4.4.7")
_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC).timestamp()  # as far as there are dates


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The times of RFC 5321 section 4.5.4.1, in seconds.

    Args:
        first_hour: between two attempts in the first hour.
        later: between two attempts after that.
        delay_notice: from the arrival of a message until its sender is told, once, that it is late.
        give_up: from the arrival until it is given up, if it really was tried meanwhile: see `is_over`.
            Infinity means never.
        min_attempts: in vain, before a message is given up.

    Raises:
        GrammarError: one of them is negative, or there would be no time between two attempts.
    """

    first_hour: float = 1800.0
    later: float = 7200.0
    delay_notice: float = 4 * 3600.0
    give_up: float = 5 * 86400.0
    min_attempts: int = 5

    def __post_init__(self) -> None:
        check_fields(self)
        if not min(self.first_hour, self.later) > 0:
            raise GrammarError("there has to be some time between two attempts")

    def next_attempt(self, arrival: float, now: float) -> float:
        """Return when a message that was tried in vain is tried again; the last time is when it is given up."""
        due, end = now + (self.first_hour if now - arrival < 3600 else self.later), arrival + self.give_up
        return min(due, end) if now < end else due

    def is_misdated(self, entry: Entry, now: float) -> bool:
        """Say whether a message that was tried waits longer than it ever has to: until a time that comes of a clock
        which was ahead then."""
        return entry.attempts > 0 and entry.due > now + max(self.first_hour, self.later)

    def is_over(self, entry: Entry, begun: float) -> bool:
        """Say whether a message is to be given up after an attempt in vain that began at this time.

        Clocks jump, machines sleep, and a relay that is started again may be there before its network is. So it takes
        more than time: a message is tried often enough, and the last attempt is made when it is due, and not as the
        first one after nobody knows how long; unless there was such a one before, for some relays are started once a
        day.
        """
        end = entry.arrival + self.give_up
        enough = entry.attempts + 1 >= self.min_attempts
        in_time = begun - entry.due <= self.later or entry.due > end
        return begun >= end and enough and in_time


def conclude(entry: Entry, begun: float | None, now: float, schedule: Schedule) -> tuple[list[Report], Entry]:
    """Return what the sender may be told after an attempt, and the entry with what is left to be done after that.

    Args:
        entry: what has become of the message.
        begun: when the attempt began; None if nothing could be tried, so that it does not count.
        now: when it has ended.
        schedule: when what is done.
    """
    expired = begun is not None and schedule.is_over(entry, begun)
    late = not (entry.late or expired) and now >= entry.arrival + schedule.delay_notice
    reports: list[Report] = []
    left: list[Pending] = []
    for recipient in entry.recipients:
        if recipient.action is not None:
            reports.append(_report(recipient, recipient.action, recipient.reply or _EXPIRED, now))
        elif expired:
            reports.append(_report(recipient, Action.FAILED, recipient.reply or _EXPIRED, now))
        else:
            left.append(recipient)
            if late:
                reply, end = recipient.reply or _STILL_TRYING, entry.arrival + schedule.give_up
                until = end if now < end < _END_OF_TIME else None
                reports.append(_report(recipient, Action.DELAYED, reply, now, until))
    rest = replace(
        entry,
        recipients=tuple(left),
        due=schedule.next_attempt(entry.arrival, now),
        late=entry.late or late,
        notices=entry.notices + bool(reports),
        attempts=entry.attempts + (begun is not None),
    )
    return reports, rest


def _report(recipient: Pending, action: Action, reply: Reply, now: float, until: float | None = None) -> Report:
    return Report(
        recipient.address,
        action,
        reply,
        recipient.remote_mta,
        recipient.parameters,
        last_attempt=datetime.fromtimestamp(now, UTC),
        retry_until=datetime.fromtimestamp(until, UTC) if until is not None else None,
    )
