"""Where mail is handed to: a host that the DNS names, or one that the operator does."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple, TypeAlias

from mailproto._core.policy import TLSPolicy
from mailproto.sasl.base import CredentialsSource
from mailproto.smtp.flows.client import RELAY_PORT, default_endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A host that mail is handed to whatever the DNS says: a smarthost, or one of a closed network.

    Mail waits, and does not come back, while the host asks for a login or TLS that the route does not have (530).

    Args:
        host: its name or its address.
        port: its port; None means that of submission, as in `SMTPClient`.
        tls: how much TLS it takes; None means what the port is for, as in `SMTPClient`. Opportunistic TLS without
            credentials takes any certificate, and where it fails mail goes in clear, as to the hosts of the DNS.
        credentials: whom to log in as there.
        cafile: a PEM file with the authorities to trust, in place of the system's.
        allow_plaintext_auth: send the credentials without TLS, too.
    """

    host: str
    port: int | None = RELAY_PORT
    tls: TLSPolicy | None = None
    credentials: CredentialsSource | None = None
    cafile: str | PathLike[str] | None = None
    allow_plaintext_auth: bool = False

    @property
    def opportunistic(self) -> bool:
        """Whether mail goes there in clear rather than not at all."""
        _, tls = default_endpoint(self.port, self.tls, credentials=self.credentials is not None)
        return tls is TLSPolicy.OPPORTUNISTIC and self.credentials is None


Way: TypeAlias = str | Route
"""What messages have in common that one host takes: a domain, for its MX hosts, or a route."""


class Target(NamedTuple):
    """A host that mail is handed to.

    Args:
        host: its name.
        address: one of its addresses.
        domain: the domain of the recipients, in A-labels, or their address literal; ``""`` for a route.
        route: the route that leads there, None if it is the DNS that does.
    """

    host: str
    address: str
    domain: str = ""
    route: Route | None = None
