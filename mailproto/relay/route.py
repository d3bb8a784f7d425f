"""Where mail is handed to: a host that the DNS names, or one that the operator does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple, TypeAlias

from mailproto._core.checks import check_fields
from mailproto._core.policy import TLSPolicy, check_policy
from mailproto._net.sockets import check_host, check_port, unix_address
from mailproto.address import address_literal
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.sasl.base import CredentialsSource, check_credentials
from mailproto.smtp.flows.client import RELAY_PORT, default_endpoint
from mailproto.smtp.sts import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A host that mail is handed to whatever the DNS says: a smarthost, one of a closed network, or the store that is
    the end of its way::

        Route("smtp.example.org", 587, credentials=Credentials("ada", secret))
        Route(path="/run/dovecot/lmtp", lmtp=True)

    Over LMTP (RFC 2033) each recipient of a message has an outcome of his own, and the host is the last one: a sender
    who wants to hear of success, and does not by the host, is told that his mail was delivered, and not relayed.

    Mail waits, and does not come back, while the host asks for a login or TLS that the route does not have (530), or
    refuses in clear, so that it may be somebody else, what is to go under TLS.

    Args:
        host: its name or its address.
        port: its port; None means that of submission, as in `SMTPClient`.
        tls: how much TLS it takes; None means what the port is for, as in `SMTPClient`. Opportunistic TLS without
            credentials takes any certificate, and where it fails mail goes in clear, as to the hosts of the DNS.
        credentials: whom to log in as there.
        cafile: a PEM file with the authorities to trust, in place of the system's.
        allow_plaintext_auth: send the credentials without TLS, too.
        path: a unix socket of this machine to connect to, in place of ``host`` and ``port``; ``tls`` None means none
            then.
        lmtp: speak LMTP, which has no port of its own; 24 is usual, and 25 forbidden (RFC 2033 section 5).

    Raises:
        GrammarError: ``host`` can be the name of none, or ``port`` is none.
        TypeError: what there is is of another type.
        LocalProtocolError: LMTP is to be spoken on port 25.
        NotSupportedError: there are no unix sockets on this system.
    """

    host: str = "localhost"
    port: int | None = RELAY_PORT
    tls: TLSPolicy | None = None
    credentials: CredentialsSource | None = None
    cafile: str | PathLike[str] | None = None
    allow_plaintext_auth: bool = False
    path: str | PathLike[str] | None = None
    lmtp: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_credentials(self.credentials)
        if self.tls is not None:
            check_policy(self.tls)
        check_host(self.host)
        if self.port is not None:
            check_port(self.port)
        if self.path is not None:
            unix_address(self.path)
        if self.lmtp and self.path is None and self.port == RELAY_PORT:
            raise LocalProtocolError("LMTP must not be spoken on port 25: name another one")

    @property
    def place(self) -> str:
        """Where that is, as an operator knows it: the host, with its port unless it is 25, or the path of the socket.
        """
        if self.path is not None:
            return os.fspath(self.path)
        port, _ = default_endpoint(self.port, self.tls, credentials=self.credentials is not None)
        return name_of(self.host) if port == RELAY_PORT else f"{name_of(self.host)}:{port}"

    @property
    def opportunistic(self) -> bool:
        """Whether mail goes there in clear rather than not at all."""
        return self._policy is TLSPolicy.OPPORTUNISTIC and self.credentials is None

    @property
    def secure(self) -> bool:
        """Whether mail goes there under TLS or not at all, as behind a login that does not go in clear."""
        safe_login = self.credentials is not None and not self.allow_plaintext_auth
        return safe_login or self._policy in (TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT)

    @property
    def _policy(self) -> TLSPolicy:
        if self.path is not None and self.tls is None:
            return TLSPolicy.NONE
        return default_endpoint(self.port, self.tls, credentials=self.credentials is not None)[1]


Way: TypeAlias = str | Route
"""What messages have in common that one host takes: a domain, for its MX hosts, or a route."""


class Target(NamedTuple):
    """A host that mail is handed to.

    Args:
        host: its name; behind a unix socket it is this host.
        address: one of its addresses, or the path of the socket.
        domain: the domain of the recipients, in A-labels, or their address literal; ``""`` for a route.
        route: the route that leads there, None if it is the DNS that does.
        policy: what the domain wants of the TLS of its hosts, where ``sts`` of the config says so.
    """

    host: str
    address: str
    domain: str = ""
    route: Route | None = None
    policy: Policy | None = None

    @property
    def place(self) -> str:
        """Where that is, as an operator knows it: the name of the host, or the place of the route."""
        return self.host if self.route is None else self.route.place


def name_of(host: str) -> str:
    """Return the name of a host, as it may stand in a notice: that of an address is its literal."""
    try:
        return address_literal(host)
    except GrammarError:
        return host
