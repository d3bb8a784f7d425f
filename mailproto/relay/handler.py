"""The handler of a server that takes mail to pass it on: from those it knows, and into the queue."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from mailproto._core.checks import check_collection
from mailproto._core.peers import check_networks, is_among
from mailproto.address import Address, check_address
from mailproto.errors import Reject
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.queue import Queue, new_name
from mailproto.smtp.events import Envelope, Mail, Rcpt
from mailproto.smtp.extensions import Notify
from mailproto.smtp.flows.server import NO_ROOM, SMTPSession
from mailproto.smtp.parameters import Body, MailParameters, RcptParameters

logger = logging.getLogger("mailproto")

RELAYING_DENIED = Reject(550, "Relaying denied", "5.7.1")
_NO_NOTICE = RcptParameters(notify=frozenset({Notify.NEVER}))
_NOT_HONOURED = Reject(555, "This relay cannot keep what a parameter asks for", "5.5.4")


class RelayHandler:
    """Takes mail for everybody from clients that have authenticated or are trusted, and none from others.

    Who may log in is for a subclass to say, in the hooks that `mailproto.sasl` lists; so is what a client may send,
    and as whom, in ``on_mail``. Under asyncio wrap it in `mailproto.aio.InThreads` for ``on_message``, which waits
    for the disk. The server's config may have `DSN` among its extensions: the relay keeps its promises to clients
    that it knows. Strangers, who may write to the postmaster alone, get no notices, whatever they ask for: their
    names are easily forged, and whose name it is wants no news of mail that he never wrote.

    A message goes on as it came, below a Received field. A submission server may mend it in a subclass
    (RFC 6409 section 8)::

        def content(self, session, envelope, name):
            return complete_header(envelope, message_id=f"{name}@example.org", date=datetime.now(UTC))

    Args:
        queue: where the mail goes.
        postmaster: who gets the mail to ``<Postmaster>``, with the server's own name or without, which everybody may
            send (RFC 5321 section 4.5.1).
        trusted: addresses and networks of clients that need not authenticate.
        queued: called with the name of each message that was taken: the relay's ``wake``.

    Raises:
        GrammarError: one of the clients is no address and no network.
        TypeError: the postmaster is no `Address`.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        postmaster: Address,
        trusted: Collection[str] = (),
        queued: Callable[[str], object] | None = None,
    ) -> None:
        check_collection("trusted", trusted)
        check_networks(trusted)
        check_address(postmaster)
        self._queue = queue
        self._postmaster = postmaster
        self._trusted = tuple(trusted)
        self._queued = queued

    def on_mail(self, _: SMTPSession, mail: Mail, /) -> None:
        """Refuse what the relay would have to forget on the way."""
        wanted = mail.parameters
        beyond = replace(wanted, size=None, auth=None, body=None, prdr=False)  # without what is for this hop
        if wanted.body is Body.BINARY_MIME or beyond != _kept(wanted):
            raise _NOT_HONOURED

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        """Take every recipient from those who may send, and the postmaster from anybody."""
        if not self.knows(session) and not self.is_postmaster(session, rcpt.address):
            raise RELAYING_DENIED
        if rcpt.parameters != RcptParameters(rcpt.parameters.notify, rcpt.parameters.orcpt):
            raise _NOT_HONOURED

    def on_message(self, session: SMTPSession, envelope: Envelope) -> str:
        """Put the message into the queue, with a Received field on top. It is on disk when this returns.

        Raises:
            Reject: the disk does not take it now: a 452, which has its client try again later.
        """
        name, now = new_name(), time.time()
        parameters = _kept(envelope.mail.parameters)
        if not all(piece.isascii() for piece in envelope):
            parameters = replace(parameters, body=Body.EIGHT_BIT_MIME)
        recipients = {pending.address: pending for pending in self._pending(session, envelope)}
        only = next(iter(recipients)) if len(recipients) == 1 else None
        received = session.received_field(
            datetime.fromtimestamp(now, UTC),
            queue_id=name,
            recipient=only if only is not None and (only.is_ascii or parameters.smtputf8) else None,
        )
        entry = Entry(name, envelope.reverse_path, tuple(recipients.values()), now, now, parameters)
        try:
            self._queue.add(entry, itertools.chain((received,), self.content(session, envelope, name)))
        except OSError as error:
            logger.error("a message from %s cannot be queued: %s", session.peer or "unix", error)
            raise NO_ROOM from None
        if self._queued is not None:
            try:
                self._queued(name)
            except Exception:  # the message is taken: if its client heard otherwise it would send it again
                logger.exception("%s was taken, and telling so failed", name)
        return f"queued as {name}"

    def content(self, _session: SMTPSession, envelope: Envelope, _name: str, /) -> Iterable[bytes]:
        """Return what goes on, below the Received field: the message as it came.

        In a subclass it may be what `mailproto.smtp.fixups.complete_header` makes of it. The last argument is its
        name in the queue, which no other message from this host has.
        """
        return envelope

    def knows(self, session: SMTPSession) -> bool:
        """Say whether a client may send to everybody: it has authenticated, or is trusted."""
        return session.identity is not None or is_among(session.peer, self._trusted)

    @staticmethod
    def is_postmaster(session: SMTPSession, address: Address) -> bool:
        """Say whether this is the postmaster of this host, whom notices are from, with its name or without."""
        name, domain = address.local_part.lower(), address.domain.lower()
        return name == "postmaster" and domain in ("", session.conn.config.hostname.lower())

    def _pending(self, session: SMTPSession, envelope: Envelope) -> Iterator[Pending]:
        for rcpt in envelope.recipients:
            ours = self.is_postmaster(session, rcpt.address)
            parameters = rcpt.parameters if self.knows(session) else _NO_NOTICE
            yield Pending(self._postmaster if ours else rcpt.address, parameters)


def _kept(parameters: MailParameters) -> MailParameters:
    """Return what a relay passes on: the size changes on the way, and what the body is made of is seen."""
    return MailParameters(smtputf8=parameters.smtputf8, ret=parameters.ret, envid=parameters.envid)
