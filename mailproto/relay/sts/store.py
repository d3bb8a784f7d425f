"""Which policy a domain has for the TLS of its mail hosts: found, refreshed and kept as RFC 8461 has it (MTA-STS)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from mailproto.errors import GrammarError, MailProtoError
from mailproto.relay.attempt import one_line
from mailproto.relay.sts.fetch import AddressResolver, fetch_policy
from mailproto.relay.sts.files import Kept, PolicyFiles
from mailproto.smtp.reply import Reply
from mailproto.smtp.routing import RoutingError
from mailproto.smtp.sts import Mode, Policy, parse_policy, policy_id, record_name
from mailproto.tls import client_context

logger = logging.getLogger("mailproto")

_UNREADABLE = Reply.build(451, "What the domain wants of TLS cannot be read now", "4.3.0")
_REFRESH = 86400.0  # seconds after which a policy that is used is fetched anew (section 3.3)
_PAUSE = 300.0  # seconds between two attempts to fetch the same policy (section 3.3)

Fetch = Callable[[str], Awaitable[bytes]]


class TextResolver(AddressResolver, Protocol):
    """Knows the texts in the DNS as well, as `mailproto.aio.DNSResolver` does."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records of a name, the strings of each joined; none if it has none.

        Raises:
            MailProtoError: nobody can tell now.
        """


class PolicyStore:
    """Knows what domains promise of the TLS of their mail hosts (MTA-STS, RFC 8461), for a relay to hold them to::

        resolver = aio.DNSResolver()
        sts = PolicyStore("queue/sts", resolver)
        config = RelayConfig(hostname="relay.example.org", resolver=resolver, sts=sts)

    Each time a domain is looked up, so is its TXT record. A policy that is new is fetched over HTTPS, and one that is
    in use again once a day, whatever the DNS says then (section 10.2). It is kept in a file, for as long as it says,
    and holds while nothing newer can be had: who keeps the DNS or the policy host from answering undoes nothing
    (section 5.1).

    Args:
        path: the directory to keep policies in, which is created if missing.
        resolver: who knows what stands in the DNS.
        cafile: a PEM file with the authorities to trust, in place of the system's, for the policy hosts and for the
            mail hosts.
        fetch: a coroutine function that returns the policy file of a domain, and raises `OSError` or `MailProtoError`
            if it cannot; None fetches it over HTTPS, within a minute.
        max_policies: how many are kept.
        clock: the time, in seconds of the Unix clock.

    Attributes:
        context: verifies mail hosts and policy hosts.

    Raises:
        NotSupportedError: the system is not POSIX.
        GrammarError: ``path`` is empty, or no policy would be kept.
        OSError: the directory cannot be made, or ``cafile`` not be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resolver: TextResolver,
        *,
        cafile: str | os.PathLike[str] | None = None,
        fetch: Fetch | None = None,
        max_policies: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.context = client_context(cafile)  # once, for to read the system's authorities takes long
        self._files = PolicyFiles(path, max_policies)
        self._resolver = resolver
        self._fetch = fetch or partial(fetch_policy, resolver=resolver, context=self.context)
        self._clock = clock
        self._failed: dict[str, tuple[str, float]] = {}  # which policies could not be fetched, and when

    async def policy(self, domain: str) -> Policy | None:
        """Return the policy that holds for a domain now, in lower-case A-labels; None if there is none. What goes
        wrong on the way there is logged.

        Raises:
            RoutingError: whether one was kept cannot be read now, so that mail waits.
            GrammarError: it is no domain in A-labels.
        """
        record = record_name(domain)
        kept = await self._load(domain)
        current = await self._current_id(domain, record, kept)
        if current is not None and self._is_to_be_fetched(domain, current, kept):
            kept = await self._renew(domain, current, kept) or kept
        return _policy(kept)

    async def kept_policy(self, domain: str) -> Policy | None:
        """Return what `policy` does, as far as it is on disk: nobody is asked. It raises the same."""
        record_name(domain)
        return _policy(await self._load(domain))

    async def _load(self, domain: str) -> Kept | None:
        """Return what is kept of a domain, if it still holds."""
        try:
            kept = await asyncio.to_thread(self._files.load, domain)
        except GrammarError as error:
            logger.error("%s: the policy that was kept is lost: %s", domain, error)
            return None
        except OSError as error:
            logger.error("%s: the policy that was kept cannot be read now: %s", domain, error)
            raise RoutingError(_UNREADABLE) from error
        return kept if kept is not None and self._clock() - kept.fetched <= kept.policy.max_age else None

    async def _current_id(self, domain: str, record: str, kept: Kept | None) -> str | None:
        """Return which policy the domain has now, as the DNS says. If it does not, that is the one that is kept, to
        be refreshed all the same: who blocks the DNS may not have the policy host as well (section 10.2). None if
        there is neither, or what is kept says that there is none.
        """
        try:
            current = policy_id(await self._resolver.txt(record))
        except MailProtoError:
            current = None
        if current is None and kept is not None and kept.policy.mode is not Mode.NONE:
            _complain(domain, kept, "the DNS does not say which policy it has now")
            return kept.id
        return current

    def _is_to_be_fetched(self, domain: str, current: str, kept: Kept | None) -> bool:
        now = self._clock()
        if kept is not None and kept.id == current and 0 <= now - kept.fetched < _REFRESH:
            return False
        failed, when = self._failed.get(domain, ("", 0.0))
        return failed != current or not 0 <= now - when < _PAUSE

    async def _renew(self, domain: str, current: str, kept: Kept | None) -> Kept | None:
        """Fetch the policy of a domain and keep it; return None if it is not to be had."""
        now = self._clock()
        try:
            new = Kept(parse_policy(await self._fetch(domain)), current, now)
        except (MailProtoError, OSError) as error:
            _complain(domain, kept, f"its policy cannot be fetched: {error}")
            self._failed = {each: when for each, when in self._failed.items() if now - when[1] < _PAUSE}
            self._failed[domain] = current, now
            return None
        try:
            await asyncio.to_thread(self._files.save, domain, new)
        except OSError as error:
            logger.error("%s: its policy cannot be kept: %s", domain, error)
        return new


def _policy(kept: Kept | None) -> Policy | None:
    return kept.policy if kept is not None and kept.policy.mode is not Mode.NONE else None


def _complain(domain: str, kept: Kept | None, what: str) -> None:
    """Log what keeps a policy from being new, unless it says that there is none (section 3.3)."""
    if kept is None:
        logger.warning("%s: mail goes there as if it had no policy: %s", domain, one_line(what))
    elif kept.policy.mode is not Mode.NONE:
        logger.warning("%s: the policy that was kept holds on: %s", domain, one_line(what))
