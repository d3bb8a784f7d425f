"""The configuration of a connection: one frozen object a role, each default with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mailproto._core.checks import check_each, check_fields
from mailproto._core.limits import Limits
from mailproto._core.peers import check_networks
from mailproto.errors import GrammarError
from mailproto.pop3.capabilities import check_capability
from mailproto.pop3.command import check_own_verb
from mailproto.pop3.languages import Language, check_languages
from mailproto.pop3.tolerance import Tolerance
from mailproto.sasl.base import check_mechanisms


@dataclass(frozen=True, slots=True, kw_only=True)
class POP3ServerConfig:
    """How a server behaves where the RFCs leave the choice.

    Args:
        greeting: what the greeting says. No version: it helps only attackers.
        starttls: offer STLS (RFC 2595 section 4). The adapters set it when they have a certificate.
        user: offer USER and PASS.
        apop: offer APOP (RFC 1939 section 7), about which ``on_auth`` is asked with an `ApopCheck`. It takes
            passwords that are on file as they are, and MD5.
        auth_mechanisms: the SASL mechanisms offered, best first. Empty: no AUTH; but the adapters offer what the
            handler surely answers, see `mailproto.sasl.default_mechanisms`.
        allow_plaintext_auth: offer and take logins without TLS, so that whoever listens has the passwords.
        last: answer LAST, which RFC 1460 had and RFC 1725 took back.
        utf8: offer UTF8 (RFC 6856 section 2), and refuse a message with UTF-8 in its header to clients that do not
            say it. Without it such a message goes to everybody as it is, and some will misread it.
        utf8_user: take UTF-8 in USER, PASS and APOP, too, and prepare it with SASLprep (RFC 6856 section 2.2).
        languages: languages to choose from with LANG (RFC 6856 section 3). ``LANG *`` chooses the first. i-default,
            the English of this library, comes behind them if it is not among them. Empty: no LANG.
        expire: days that mail stays at least, announced as EXPIRE (RFC 2449 section 6.7): 0 where nothing may be
            left, ``math.inf`` for ever, None to say nothing. Nothing is enforced by it.
        expire_by_user: whether it is longer for some users. ``expire`` is then the least of any user's, and
            ``on_login`` may set the connection's ``expire``.
        login_delay: seconds from one login to the next, announced as LOGIN-DELAY (RFC 2449 section 6.5), None to say
            nothing. It is `mailproto.logindelay.LoginDelay` that enforces it.
        login_delay_by_user: whether it is shorter for some users. ``login_delay`` is then the largest of any user's,
            and ``on_login`` may set the connection's ``login_delay``.
        implementation: what the server is, announced as IMPLEMENTATION (RFC 2449 section 6.9) to who is logged in;
            nothing by default.
        extra_capabilities: further lines for CAPA.
        commands: verbs of the application's own, in upper case. Who is logged in may say them, and they come as
            `ExtensionCommand`. What CAPA lists for them is in ``extra_capabilities``.
        proxies: addresses and networks of the load balancers that all connections come through. Each has to begin
            with a PROXY header; who comes from elsewhere is sent away. Who connects without an IP address that the
            balancer could tell is ``"unknown"``, and never taken for the balancer.
        trusted_peers: addresses and networks of peers that may speak for other clients, with XCLIENT as Dovecot has
            it.
        limits: the bounds of each connection.
    """

    greeting: str = "POP3 server ready"
    starttls: bool = False
    user: bool = True
    apop: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    allow_plaintext_auth: bool = False
    last: bool = False
    utf8: bool = True
    utf8_user: bool = True
    languages: tuple[Language, ...] = ()
    expire: float | None = None
    expire_by_user: bool = False
    login_delay: int | None = None
    login_delay_by_user: bool = False
    implementation: str = ""
    extra_capabilities: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    trusted_peers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_fields(self)
        check_networks(self.proxies, self.trusted_peers)
        check_each("languages", self.languages, Language)
        check_languages(self.languages)
        check_expire(self.expire)
        if self.implementation:
            check_capability(f"IMPLEMENTATION {self.implementation}")
        if "<" in self.greeting:
            raise GrammarError("the greeting must not have a '<': clients would take it for APOP's timestamp")
        check_mechanisms(self.auth_mechanisms)
        for line in self.extra_capabilities:
            check_capability(line)
        for verb in self.commands:
            check_own_verb(verb)


@dataclass(frozen=True, slots=True, kw_only=True)
class POP3ClientConfig:
    """How a client behaves where the RFCs leave the choice.

    Args:
        pipelining: send commands ahead of their responses to servers that offer it (RFC 2449 section 6.6).
        tolerances: what is let pass of what servers do otherwise than the RFCs say. All by default: none of them
            changes where a response ends, or what it says, that is as the RFC has it.
        limits: the bounds and the timeouts of the connection.
    """

    pipelining: bool = True
    tolerances: frozenset[Tolerance] = frozenset(Tolerance)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_fields(self)
        check_each("tolerances", self.tolerances, Tolerance)


def check_expire(days: float | None) -> None:
    """Raise `GrammarError` unless ``days`` is a whole number of days, `math.inf`, or None."""
    if not (days is None or days == math.inf or (type(days) is int and days >= 0)):
        raise GrammarError(f"not a number of days: {days!r:.40}")
