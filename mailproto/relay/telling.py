"""What the operator is told of each attempt."""

from __future__ import annotations

from mailproto.address import Address
from mailproto.relay.attempt import Attempt, Fate
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.job import Heard
from mailproto.smtp.notices import Action
from mailproto.smtp.reply import Reply

_TAKEN = Reply.build(250, "Taken", "2.0.0")


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
