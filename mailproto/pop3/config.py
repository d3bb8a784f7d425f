"""The configuration of a connection: one frozen object a role, each default with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailproto._core.limits import Limits
from mailproto._core.peers import check_networks
from mailproto.errors import GrammarError
from mailproto.pop3.capabilities import check_capability, check_mechanism
from mailproto.pop3.tolerance import Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class POP3ServerConfig:
    """How a server behaves where the RFCs leave the choice."""

    greeting: str = "POP3 server ready"
    """What the greeting says. No version: it helps only attackers."""
    starttls: bool = False
    """Offer STLS (RFC 2595 section 4). The adapters set it when they have a certificate."""
    user: bool = True
    """Offer USER and PASS."""
    auth_mechanisms: tuple[str, ...] = ()
    """The SASL mechanisms offered, best first. None: no AUTH at all."""
    allow_plaintext_auth: bool = False
    """Offer and take logins without TLS, so that whoever listens has the passwords."""
    last: bool = False
    """Answer LAST, which RFC 1460 had and RFC 1725 took back."""
    extra_capabilities: tuple[str, ...] = ()
    """Further lines for CAPA, such as ``"EXPIRE NEVER"``."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of the load balancers that all connections come through. Each has to begin with a PROXY
    header; who comes from elsewhere is sent away."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_networks(self.proxies)
        if "<" in self.greeting:
            raise GrammarError("the greeting must not have a '<': clients would take it for APOP's timestamp")
        for name in self.auth_mechanisms:
            check_mechanism(name)
        for line in self.extra_capabilities:
            check_capability(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class POP3ClientConfig:
    """How a client behaves where the RFCs leave the choice."""

    pipelining: bool = True
    """Send commands ahead of their responses to servers that offer it (RFC 2449 section 6.6)."""
    tolerances: frozenset[Tolerance] = frozenset(Tolerance)
    """All by default: they change neither where a response ends nor what it says."""
    limits: Limits = field(default_factory=Limits)
