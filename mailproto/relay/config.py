"""How a relay behaves where the RFCs leave the choice."""

from __future__ import annotations

import functools
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from mailproto._core.policy import TLSPolicy
from mailproto.address import Address, check_domain
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import (
    ConnectionClosedError,
    GrammarError,
    LocalProtocolError,
    MailProtoError,
    RemoteProtocolError,
    TLSRequiredError,
)
from mailproto.relay.attempt import Attempt, log_attempt, one_line
from mailproto.relay.policy_store import PolicyStore
from mailproto.relay.route import Route, Target, Way
from mailproto.relay.schedule import Schedule
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.flows.client import RELAY_PORT
from mailproto.smtp.reply import Reply, ReplyError
from mailproto.smtp.routing import Resolver, RoutingError, literal_host, lookup_name
from mailproto.smtp.sts import Mode, Policy

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
            waits. Where a policy is only tested mail goes in any case, with a line in the log. Without it no domain
            is asked, for that takes HTTPS to hosts all over the world. Routes have their own ``tls``, and address
            literals no policy. It does not go with ``make_client``, which sees to TLS itself.
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
        check_domain(self.hostname)
        if not self.hostname.isascii():
            raise GrammarError("the name of a relay is said before UTF-8 is agreed on: give it in A-labels")
        for domain in self.routes:
            if domain != lookup_name(domain, self.idna_encode):
                raise GrammarError(f"a domain with a route is given in lower-case A-labels: {domain!a:.100}")
        if min(self.max_connections, self.max_connections_each) < 1:
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

    async def connect(self, target: Target) -> SMTPClient:
        """Return a client that is connected to this host; raise what `SMTPClient.connect` raises, or a `RoutingError`
        if it is not what its domain wants of it.

        With opportunistic TLS, a host that offers STARTTLS and then hangs up, falls silent, fails in the handshake or
        says something else in its place is tried once more in clear (RFC 7435 section 3), with a line in the log.
        So is one that has words in clear behind its 220: they may be those of an attacker, who must not be believed,
        and is not. But he could have taken the offer of STARTTLS away as well (RFC 3207 section 6), so that not to
        send at all would keep nothing from him, and from the recipients of a host that is just broken all their mail.
        """
        if target.policy is not None:
            try:
                return await self._connect_verified(target, target.policy)
            except RoutingError as error:
                if target.policy.mode is not Mode.TESTING:
                    raise
                logger.warning("mail goes there all the same, for that is a test: %s", one_line(error.reply.text))
        client = await self._client(target)
        try:
            await client.connect()
        except (ConnectionClosedError, RemoteProtocolError, OSError) as error:
            if not self._may_go_in_clear(target) or not _came_to_tls(client):
                raise
            logger.warning("%s: no session under TLS, so that mail goes in clear: %s", target.place, error)
            client = await self._client(target, TLSPolicy.NONE)
            await client.connect()
        return client

    async def _connect_verified(self, target: Target, policy: Policy) -> SMTPClient:
        """Return a client that is connected to a host which fulfils the policy of its domain (RFC 8461 section 4);
        raise a `RoutingError` if it does not."""
        if not policy.matches(target.host):
            raise _not_fulfilled(target, "it is none of the hosts there")
        context = self.sts.context if self.sts is not None else None  # the usual one, which verifies as well
        client = self._mx_client(target, TLSPolicy.REQUIRED, context)
        try:
            await client.connect()
        except ReplyError:
            raise
        except (MailProtoError, OSError) as error:
            if isinstance(error, TLSRequiredError) or _came_to_tls(client):
                raise _not_fulfilled(target, str(error)) from error
            raise
        return client

    def _may_go_in_clear(self, target: Target) -> bool:
        return self.make_client is None if target.route is None else target.route.opportunistic

    async def _client(self, target: Target, tls: TLSPolicy = TLSPolicy.OPPORTUNISTIC) -> SMTPClient:
        route = target.route
        if route is not None:
            return SMTPClient(
                route.host,
                route.port,
                path=route.path,
                tls=tls if route.opportunistic else route.tls,
                context=_any_certificate() if route.opportunistic else None,
                cafile=None if route.opportunistic else route.cafile,
                credentials=route.credentials,
                allow_plaintext_auth=route.allow_plaintext_auth,
                local_name=self.hostname,
                config=SMTPClientConfig(idna_encode=self.idna_encode, lmtp=route.lmtp),
            )
        if self.make_client is not None:
            client = self.make_client(target)
            return client if isinstance(client, SMTPClient) else await client
        return self._mx_client(target, tls, _any_certificate())

    def _mx_client(self, target: Target, tls: TLSPolicy, context: ssl.SSLContext | None) -> SMTPClient:
        is_name = literal_host(target.host) is None  # which alone SNI is for (RFC 6066 section 3)
        return SMTPClient(
            target.address,
            RELAY_PORT,
            tls=tls,
            context=context,
            server_hostname=target.host if is_name else target.address,
            local_name=self.hostname,
            config=SMTPClientConfig(idna_encode=self.idna_encode),
        )


def _came_to_tls(client: SMTPClient) -> bool:
    return client.tls is not None or "STARTTLS" in client.extensions


def _not_fulfilled(target: Target, why: str) -> RoutingError:
    text = f"{target.place} is not as the policy of {target.domain} wants it (MTA-STS): {why}"
    return RoutingError(Reply.build(451, text, "4.7.5"))


@functools.cache
def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
