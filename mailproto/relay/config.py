"""How a relay behaves where the RFCs leave the choice."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from mailproto._core.checks import check_callable, check_fields, check_kind
from mailproto.address import Address, check_domain
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.relay.attempt import Attempt, log_attempt
from mailproto.relay.route import Route, Target, Way
from mailproto.relay.schedule import Schedule
from mailproto.relay.sts.store import PolicyStore
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.routing import Resolver, RoutingError, lookup_name

logger = logging.getLogger("mailproto")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """How a relay behaves where the RFCs leave the choice.

    Args:
        hostname: its own name, which it says in EHLO, and by which it knows itself among the MX hosts.
        resolver: who knows where mail goes: a `mailproto.aio.DNSResolver`, say. Without one only routes lead on.
        routes: the hosts that take the mail for some domains, in lower-case A-labels, whatever the DNS says.
        smarthost: the host that takes the mail for all other domains, whatever the DNS says.
        make_client: makes the client for a host of the DNS, or is a coroutine function that does, for a relay that
            wants more of it than what is usual: what DANE (RFC 7672) says of the host, say. What the client requires
            is kept to; if a `MailProtoError` is raised instead, the host is not used now. By default it is port 25,
            and TLS where that works, whatever the certificate (RFC 7435): nothing in the DNS alone says which one a
            mail host should have, and without TLS anybody could listen.
        sts: knows which domains promise more, and holds them to it (MTA-STS, RFC 8461): mail for a domain that
            enforces its policy goes to the hosts that the policy names, under TLS and with a verified certificate, or
            waits, also where the DNS knows no hosts any more. Where a policy is only tested mail goes in any case,
            with a line in the log. Without it no domain is asked, for that takes HTTPS to hosts all over the world.
            Routes have their own ``tls``, and address literals no policy. It does not go with ``make_client``, which
            sees to TLS itself.
        schedule: when a message is tried again, and for how long.
        max_connections: connections at a time.
        max_connections_each: those to the hosts of one domain, or over one route: more than one while many messages
            wait there, and nobody else wants to have a connection.
        turn: seconds after which a connection makes place, behind the message under way, if others wait for one.
        attempt_timeout: seconds that the hosts of a domain may take to be found, those that a host has to let itself
            be reached, and those that it has to take a message. A long message has a second more for each 10,000
            octets. Each step has limits of its own (RFC 5321 section 4.5.3.2), but they do not end what goes on
            slowly: a host that answers each command at the last moment would hold its place for hours, and so would a
            domain of many hosts that nobody can find.
        grace: seconds that what is under way may still take after `Relay.stop`; what is cut off then is sent again.
        max_targets: addresses that are tried for a message in one attempt; RFC 5321 section 5.1 wants two at least.
        on_attempt: called with what came of each attempt, for each recipient, in the loop, so that it must not block.
            What it raises is logged. One of your own may call `log_attempt`, too.
        idna_encode: makes A-labels of a domain, as in `SMTPClientConfig`.
        clock: the time, in seconds of the Unix clock.
        shuffle: puts hosts of equal preference in a random order, in place.
    """

    hostname: str
    resolver: Resolver | None = None
    routes: Mapping[str, Route] = field(default_factory=dict)
    smarthost: Route | None = None
    make_client: Callable[[Target], SMTPClient | Awaitable[SMTPClient]] | None = None
    sts: PolicyStore | None = None
    schedule: Schedule = field(default_factory=Schedule)
    max_connections: int = 20
    max_connections_each: int = 3
    turn: float = 300.0
    attempt_timeout: float = 1800.0
    grace: float = 30.0
    max_targets: int = 6
    on_attempt: Callable[[Attempt], object] = log_attempt
    idna_encode: Callable[[str], str] = idna_2003
    clock: Callable[[], float] = time.time
    shuffle: Callable[[list[str]], object] = random.shuffle

    def __post_init__(self) -> None:
        check_fields(self)
        check_kind("routes", self.routes, Mapping)
        for domain, route in self.routes.items():
            check_kind(f"the way to {domain}", route, Route)
        if self.smarthost is not None:
            check_kind("smarthost", self.smarthost, Route)
        check_domain(self.hostname)
        if not self.hostname.isascii():
            raise GrammarError("the name of a relay is said before UTF-8 is agreed on: give it in A-labels")
        for domain in self.routes:
            if domain != lookup_name(domain, self.idna_encode):
                raise GrammarError(f"a domain with a route is given in lower-case A-labels: {domain!a:.100}")
        if self.sts is not None:
            check_kind("sts", self.sts, PolicyStore)
        if self.resolver is not None:
            for name in ("mx", "addresses"):
                check_callable(f"{name} of the resolver", getattr(self.resolver, name, None))
        if min(self.max_connections, self.max_connections_each, self.max_targets) < 1:
            raise GrammarError("no mail goes anywhere without a connection")
        if self.resolver is None and self.smarthost is None and not self.routes:
            raise LocalProtocolError("a relay needs a resolver, routes, or a smarthost")
        if self.sts is not None and self.make_client is not None:
            raise LocalProtocolError("make_client sees to TLS itself, so that there is nothing to do for sts")

    def way_to(self, address: Address) -> Way:
        """Return the route that mail to an address takes; without one its domain, whose MX hosts are to be asked."""
        domain = name = address.canonical.domain
        with suppress(RoutingError):  # which is told when it is tried
            name = lookup_name(domain, self.idna_encode)
        return self.routes.get(name) or self.smarthost or domain

    def tell(self, attempt: Attempt) -> None:
        """Call ``on_attempt``. If that fails, the mail goes its way all the same."""
        try:
            self.on_attempt(attempt)
        except Exception:
            logger.exception("%s: what came of it could not be told", attempt.queue_id)
