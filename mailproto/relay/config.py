"""How a relay behaves where the RFCs leave the choice."""

from __future__ import annotations

import functools
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mailproto._core.policy import TLSPolicy
from mailproto.address import check_domain
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import ConnectionClosedError, GrammarError
from mailproto.relay.schedule import Schedule
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.flows.client import RELAY_PORT
from mailproto.smtp.routing import Resolver, literal_host

logger = logging.getLogger("mailproto")

MakeClient = Callable[[str, str], SMTPClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """How a relay behaves where the RFCs leave the choice."""

    hostname: str
    """Its own name, which it says in EHLO, and by which it knows itself among the MX hosts."""
    resolver: Resolver
    """Who knows where mail goes: a `mailproto.aio.DNSResolver`, say."""
    make_client: MakeClient | None = None
    """Makes the client for a host, from its name and its address, for a relay that hands all mail to one host, say:
    with its port, with credentials, with TLS that is verified. What it requires is kept to. By default it is port 25,
    and TLS where that works, whatever the certificate (RFC 7435): nothing says which one a mail host should have, and
    without TLS anybody could listen."""
    schedule: Schedule = field(default_factory=Schedule)
    max_connections: int = 20
    """Connections at a time; never more than one to the hosts of a domain."""
    max_targets: int = 6
    """Addresses that are tried for a message in one attempt; RFC 5321 section 5.1 wants two at least."""
    idna_encode: Callable[[str], str] = idna_2003
    """Makes A-labels of a domain, as in `SMTPClientConfig`."""
    clock: Callable[[], float] = time.time
    """The time, in seconds of the Unix clock."""
    shuffle: Callable[[list[str]], object] = random.shuffle
    """Puts hosts of equal preference in a random order, in place."""

    def __post_init__(self) -> None:
        check_domain(self.hostname)
        if not self.hostname.isascii():
            raise GrammarError("the name of a relay is said before UTF-8 is agreed on: give it in A-labels")

    async def connect(self, host: str, address: str) -> SMTPClient:
        """Return a client that is connected to this host; raise what `SMTPClient.connect` raises.

        Without `make_client`, a host that offers STARTTLS and then hangs up, falls silent or fails in the handshake
        is tried once more in clear (RFC 7435 section 3), with a line in the log.
        """
        if self.make_client is not None:
            client = self.make_client(host, address)
            await client.connect()
            return client
        client = self._client(host, address, TLSPolicy.OPPORTUNISTIC)
        try:
            await client.connect()
        except (ConnectionClosedError, OSError) as error:
            if client.tls is None and "STARTTLS" not in client.extensions:  # it never came to that
                raise
            logger.warning("%s: no session under TLS, so that mail goes in clear: %s", host, error)
            client = self._client(host, address, TLSPolicy.NONE)
            await client.connect()
        return client

    def _client(self, host: str, address: str, tls: TLSPolicy) -> SMTPClient:
        return SMTPClient(
            address,
            RELAY_PORT,
            tls=tls,
            context=_any_certificate(),
            server_hostname=host if literal_host(host) is None else address,  # SNI is for names (RFC 6066 section 3)
            local_name=self.hostname,
            config=SMTPClientConfig(idna_encode=self.idna_encode),
        )


@functools.cache
def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
