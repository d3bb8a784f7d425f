"""What is told of messages: to the operator of each attempt, and to the sender of what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

from mailproto.address import Address
from mailproto.relay.attempt import Attempt, Fate
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.job import Heard
from mailproto.smtp.notices import Action, Report, make_notice
from mailproto.smtp.reply import Reply

_TAKEN = Reply.build(250, "Taken", "2.0.0")
_PIECE = 64 << 10  # octets


def attempt_at(entry: Entry, recipient: Address, fate: Fate, reply: Reply, heard: Heard, now: float) -> Attempt:
    """Return what the operator is told of what came of a message for one recipient."""
    return Attempt(
        queue_id=entry.name,
        sender=entry.reverse_path,
        recipient=recipient,
        fate=fate,
        host=heard.host,
        reply=reply,
        duration=heard.duration,
        age=now - entry.arrival,
    )


def attempt_with(entry: Entry, recipient: Address, change: Pending | None, heard: Heard, now: float) -> Attempt:
    """Return the same by what is left to be done for the recipient."""
    reply = heard.accepted.get(recipient) or (change and change.reply) or _TAKEN
    return attempt_at(entry, recipient, _fate(change), reply, heard, now)


def _fate(change: Pending | None) -> Fate:
    if change is None or change.action in (Action.RELAYED, Action.DELIVERED):
        return Fate.DELIVERED
    return Fate.BOUNCED if change.action is not None else Fate.DEFERRED


def write_notice(
    entry: Entry, reports: Sequence[Report], message: BinaryIO, *, name: str, hostname: str, now: float
) -> tuple[Entry, bytes] | None:
    """Return the notice to the sender of a message, as an entry of this name and content; None if he gets none."""
    notice = make_notice(
        reports,
        reverse_path=entry.reverse_path,
        message=iter(partial(message.read, _PIECE), b""),
        hostname=hostname,
        when=datetime.fromtimestamp(now, UTC),
        notice_id=name,
        parameters=entry.parameters,
        arrival=datetime.fromtimestamp(entry.arrival, UTC),
        to_automatic_mail=True,  # it came from who we know
    )
    if notice is None:
        return None
    recipient = Pending(notice.address, notice.rcpt_parameters)
    return Entry(name, None, (recipient,), now, now, notice.parameters), notice.content
