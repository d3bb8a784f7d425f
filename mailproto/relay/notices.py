"""The notices that a relay puts into its own queue, to tell senders what became of their mail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

from mailproto.address import format_path
from mailproto.relay.attempt import one_line
from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import MAX_NAME, Entry, Pending
from mailproto.relay.queue import Queue, new_name
from mailproto.smtp.notices import Action, Report, make_notice

logger = logging.getLogger("mailproto")

_PIECE = 64 << 10  # octets


class Notices:
    """Writes notices.

    Args:
        queue: where they go, and where the messages are.
        config: that of the relay.
        active: the names of the entries that are being tried.
        added: called with the name of each notice, from whatever thread.
    """

    def __init__(
        self, queue: Queue, config: RelayConfig, active: Container[str], added: Callable[[str], object]
    ) -> None:
        self._queue = queue
        self._config = config
        self._active = active
        self._added = added

    def add(self, entry: Entry, reports: Sequence[Report]) -> None:
        """Put the notice about an entry into the queue. It waits for the disk.

        Should a crash come before what it tells is forgotten, it replaces itself, for its name is the same again,
        unless it is on its way.

        Raises:
            OSError: the disk does not take it.
            UnreadableError: the message cannot be read.
        """
        now = self._config.clock()
        name = f"{entry.name}.{entry.notices}"
        while name in self._active:  # from before a crash, and on its way: what it does not tell needs another one
            name += ".0"
        if len(name) > MAX_NAME:  # the price is that a crash may have it told twice
            name = new_name()
        with self._queue.open(entry.name, entry.size) as message:
            notice = _write(entry, reports, message, name=name, hostname=self._config.hostname, now=now)
        if notice is None:
            _log_undeliverable(entry.name, reports)
            return
        self._queue.add(*notice)
        self._added(name)


def _log_undeliverable(name: str, reports: Sequence[Report]) -> None:
    for report in reports:
        if report.action is Action.FAILED:
            to, reply = one_line(format_path(report.address)), one_line(str(report.reply))
            logger.warning("%s: undeliverable to %s, and nobody to be told: %s", name, to, reply)


def _write(
    entry: Entry, reports: Sequence[Report], message: BinaryIO, *, name: str, hostname: str, now: float
) -> tuple[Entry, list[bytes]] | None:
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
    return Entry(name, None, (recipient,), now, now, notice.parameters), [notice.content]
