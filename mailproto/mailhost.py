"""A small mail host: who has an account, what is local, and where mail is kept. One handler for SMTP and POP3.

It delivers to its own users and relays for nobody. Give it to `SMTPServer` and `POP3Server` alike. Maildrops
wait for disks and for locks, so under asyncio that is ``mailproto.aio.InThreads(host, *BLOCKING_HOOKS)``: without it
one user whose maildrop is slow stops all others.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from mailproto._core.checks import check_collection
from mailproto._core.peers import is_loopback
from mailproto.accounts import Accounts
from mailproto.accounts import Secret as Secret
from mailproto.address import POSTMASTER, Address, check_domain
from mailproto.errors import GrammarError, Reject
from mailproto.logindelay import LoginDelay
from mailproto.maildrop.base import Maildrop
from mailproto.pop3.flows.server import POP3Session
from mailproto.pop3.snapshot import Snapshot
from mailproto.sasl.base import Question
from mailproto.sasl.scram_key import ScramKey, ScramPassword
from mailproto.sasl.scram_server import ScramKeyRequest
from mailproto.sasl.text import comparable
from mailproto.smtp.alabels import encode_domain
from mailproto.smtp.events import Envelope, Rcpt
from mailproto.smtp.flows.server import NO_ROOM, SMTPSession
from mailproto.smtp.trace import with_return_path

__all__ = ["BLOCKING_HOOKS", "NOT_LOCAL", "Delivered", "MailHost", "Secret"]

logger = logging.getLogger("mailproto")

NOT_LOCAL = Reject(550, "Relaying denied", "5.7.1")

BLOCKING_HOOKS = ("on_message", "on_delivery", "on_auth", "on_login", "on_retrieve", "on_commit")
"""The hooks that wait for maildrops, and the one that takes its time to check a password."""

_STORED = "mailhost.stored"  # the users who have the message under way, among what a session keeps

Delivered = Callable[[str, Envelope], None]


class MailHost:
    """The handler of a host with local users.

    SCRAM does not ask ``on_auth``, but ``on_scram_key``: a subclass that is to decide who gets in overrides both.

    Args:
        open_drop: returns the maildrop of a user; called once for each.
        users: user name to password, or to a key made of it for SCRAM-SHA-256; with keys among them ``on_auth``
            takes some milliseconds, and wants to be in a thread under asyncio. Names are compared as SASLprep has
            them. Without any, all mail to a local domain lands in the one drop ``open_drop("")``, whoever in it is
            meant, and anybody on the loopback may fetch it, whatever the name and password: the host of somebody who
            tries out a program.
        domains: the local domains; without any, every domain is.
        delivered: called with each message that was stored, as it came, and the user it was stored for. What it
            raises is logged.
        login_delay: seconds from one POP3 login of a user to the next; `POP3ServerConfig` has one to announce it.
        trace: put a Received and a Return-Path field on top of what is stored, and take out a Return-Path that it
            came with, as RFC 5321 section 4.4 wants of final delivery. Without it every octet comes back as it came.
        secret: keeps what SCRAM tells about users who are not known the same when the server starts again; see
            `Accounts`.

    Raises:
        GrammarError: a domain is none, or two users have names that no login can tell apart.
    """

    def __init__(
        self,
        open_drop: Callable[[str], Maildrop],
        users: Mapping[str, Secret] | None = None,
        domains: Collection[str] = (),
        *,
        delivered: Delivered | None = None,
        login_delay: float = 0,
        trace: bool = False,
        secret: bytes | None = None,
    ) -> None:
        check_collection("domains", domains)
        users = users if users is not None else {}
        self._accounts = Accounts(users, secret=secret)
        self._in_any_case = _in_any_case(self._accounts)
        for domain in domains:
            check_domain(domain)
        self._domains = frozenset(map(_domain_key, domains))
        self._delivered = delivered
        self._trace = trace
        self._delay = LoginDelay(login_delay)
        self._drops = {comparable(name): open_drop(name) for name in users or ("",)}
        if self._accounts and not hasattr(self, "on_scram_key"):  # SCRAM cannot prove a password that is anything
            self.on_scram_key = self._scram_secret

    def drop_of(self, user: str) -> Maildrop:
        """Return the maildrop of a user; `KeyError` if there is no such user."""
        return self._drops[self._key_of(user)]

    # SMTP.

    def on_rcpt(self, _: SMTPSession, rcpt: Rcpt, /) -> None:
        """Take recipients that are local, and nobody else, whoever asks."""
        if self._user_of(rcpt.address) is None:
            raise NOT_LOCAL

    def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
        """Store the message for each recipient, once a user. It is on disk when this returns.

        If that fails for one of them, those before him have the message, and will have it again when the client,
        who is told 451, sends it again: SMTP has one answer for all. LMTP and PRDR have one for each.
        """
        session.state[_STORED] = set()
        if not session.conn.answers_each:
            for rcpt in envelope.recipients:
                self.on_delivery(session, envelope, rcpt)

    def on_delivery(self, session: SMTPSession, envelope: Envelope, rcpt: Rcpt) -> None:
        """Store the message for one recipient, unless it is stored for that user already."""
        user = self._user_of(rcpt.address)
        if user is None:
            raise NOT_LOCAL
        stored = session.state[_STORED]
        if user not in stored:
            self._deliver(user, _traced(session, envelope, rcpt) if self._trace else envelope)
            stored.add(user)
            if self._delivered is not None:
                self._tell(self._delivered, user, envelope)

    def _deliver(self, user: str, content: Iterable[bytes]) -> None:
        """Store a message. That there is no room for it is no error of ours, and its client may know."""
        try:
            self._drops[user].deliver(content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            logger.error("mail for %r cannot be stored: %s", user, error)
            raise NO_ROOM from None

    def _tell(self, delivered: Delivered, user: str, envelope: Envelope) -> None:
        """Tell of a delivery. If that fails, the message is stored all the same, and is not to be sent again."""
        try:
            delivered(user, envelope)
        except Exception:
            logger.exception("a delivery could not be told")

    # POP3.

    def on_login(self, session: POP3Session) -> Snapshot:
        """Open the maildrop of who has logged in, which no other session may have open, if it is time again."""
        identity = session.identity
        if identity is None:
            raise Reject(text="Nobody is logged in")
        with self._delay.login(self._key_of(identity.user)):
            return self.drop_of(identity.user).open()

    def on_retrieve(self, session: POP3Session, number: int) -> Iterable[bytes] | Awaitable[Iterable[bytes]]:
        """Open a message, which may have to wait for a lock."""
        return _open_snapshot(session).retrieve(number)

    def on_commit(self, session: POP3Session, deleted: Sequence[int]) -> Awaitable[None] | None:
        """Remove messages, and wait until that is on disk."""
        return _open_snapshot(session).commit(deleted)

    # Both.

    def on_auth(self, session: SMTPSession | POP3Session, check: Question) -> bool:
        """Say whether the password is right; an unknown user costs what a known one costs."""
        return self._accounts.check(check) if self._accounts else is_loopback(session.peer)

    def _scram_secret(
        self, _: SMTPSession | POP3Session, request: ScramKeyRequest, /
    ) -> ScramKey | ScramPassword | None:
        """Return what SCRAM needs of a user's password."""
        return self._accounts.scram_secret(request)

    def _key_of(self, user: str) -> str:
        """Return by which name a user is kept, however it is written; where there are none that is everybody's."""
        return comparable(user) if self._accounts else ""

    def _user_of(self, address: Address) -> str | None:
        """Return whose mail this is, None if nobody's here."""
        if not self._accounts:
            return "" if address == POSTMASTER or self._is_local(address.domain) else None
        if address != POSTMASTER and not self._is_local(address.domain):
            return None
        name = comparable(address.local_part)
        if name in self._accounts:
            return name
        if (name := comparable(address.local_part.lower())) in self._in_any_case:
            return self._in_any_case[name]
        # Every host has to take mail for its postmaster (RFC 5321 section 4.5.1).
        return next(iter(self._accounts)) if address.local_part.lower() == "postmaster" else None

    def _is_local(self, domain: str) -> bool:
        return not self._domains or _domain_key(domain) in self._domains


def _in_any_case(names: Iterable[str]) -> dict[str, str]:
    """Return the names by what they are in lower case. Of those that differ in case alone, one that is so itself."""
    by_lower = [(comparable(name.lower()), name) for name in names]
    counts = Counter(lower for lower, _ in by_lower)
    return {lower: name for lower, name in by_lower if counts[lower] == 1 or name == lower}


def _open_snapshot(session: POP3Session) -> Snapshot:
    if session.snapshot is None:
        raise Reject(text="The maildrop is not open")
    return session.snapshot


def _traced(session: SMTPSession, envelope: Envelope, rcpt: Rcpt) -> Iterable[bytes]:
    """Return the message as final delivery keeps it. Whom it is for stands there only if nobody else has it."""
    alone = len(envelope.recipients) == 1 and rcpt.address != POSTMASTER  # who is no path (RFC 5321 section 4.4)
    received = session.received_field(datetime.now(UTC), recipient=rcpt.address if alone else None)
    return with_return_path(envelope.reverse_path, chain((received,), envelope))


def _domain_key(domain: str) -> str:
    """Return what all spellings of a domain have in common: its A-labels, in lower case (RFC 5890 section 2.3)."""
    try:
        return encode_domain(domain).lower()
    except GrammarError:  # it has none in IDNA 2003
        return domain.lower()
