"""The configuration of a connection: one frozen object a role, each default with its reason."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mailproto._core.checks import check_each, check_fields
from mailproto._core.limits import Limits
from mailproto._core.peers import check_networks
from mailproto.address import check_domain
from mailproto.errors import GrammarError
from mailproto.sasl.base import check_mechanisms
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.extensions import ALL_EXTENSIONS, DEFAULT_EXTENSIONS, Extension

_NEEDS = {"SMTPUTF8": "8BITMIME", "BINARYMIME": "CHUNKING", "BURL": "8BITMIME"}
"""What a server has to offer with an extension: RFC 6531 section 3.1, RFC 3030 section 3, RFC 4468 section 4."""


class BareNewlines(enum.Enum):
    """What a server does with a message that has a CR or LF outside of a CRLF. None of them ends the message.

    Attributes:
        REJECT: take it to its true end, then refuse it with 550.
        CLOSE: refuse it with 521 and close the connection: for a server that only knows good clients.
        NORMALIZE: make each of them a CRLF and deliver: for old devices that know no better.
    """

    REJECT = "reject"
    CLOSE = "close"
    NORMALIZE = "normalize"


class Tolerance(enum.Enum):
    """A deviation of the peer's that can be let pass, by name. Each reports itself when it is used.

    Attributes:
        SPACE_AFTER_COLON: ``MAIL FROM: <a@b>``.
        MISSING_BRACKETS: ``MAIL FROM:a@b``.
        AUTH_EQUALS: ``250-AUTH=LOGIN PLAIN``, how servers offered AUTH before it had an RFC.
    """

    SPACE_AFTER_COLON = "space after the colon"
    MISSING_BRACKETS = "missing brackets"
    AUTH_EQUALS = "AUTH= in EHLO"


class UnknownParameters(enum.Enum):
    """What a server does with a parameter of MAIL or RCPT that none of the extensions it has offered knows.

    Attributes:
        REFUSE: refuse the command with 555 (RFC 5321 section 4.1.1.11).
        PASS: put it into ``extra``, its value as raw text: for proxies, and for whoever collects.
    """

    REFUSE = "refuse"
    PASS = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class SMTPServerConfig:
    """How a server behaves where the RFCs leave the choice.

    Args:
        hostname: the server's own name, in the greeting and in the reply to EHLO (RFC 5321 section 4.2). A server
            for more than this machine has one; where it does not, the adapters log so.
        greeting: what the greeting says behind the name. No version: it helps only attackers (RFC 5321
            section 7.5).
        max_message_size: the largest message taken, in octets; 0 means no fixed limit, as in RFC 1870 section 4.
        starttls: offer STARTTLS. The adapters set it when they have a certificate.
        auth_mechanisms: the SASL mechanisms offered, best first. Empty: no AUTH; but the adapters offer what the
            handler surely answers, see `mailproto.sasl.default_mechanisms`.
        allow_plaintext_auth: offer and take AUTH without TLS, so that whoever listens has the passwords.
        require_tls: refuse mail before STARTTLS with 530 (RFC 3207 section 4), and VRFY, EXPN, ETRN and the commands
            of extensions of your own; and let nobody log in in clear, whatever ``allow_plaintext_auth`` says. For
            submission, not for port 25.
        require_auth: refuse the same before AUTH with 530 (RFC 4954 section 6): for submission.
        lmtp: speak LMTP (RFC 2033): LHLO, and a reply for each recipient to a message. Never on port 25.
        bare_newlines: what becomes of a message with a CR or LF outside of a CRLF.
        allow_nul: take NUL octets in a message, which RFC 5322 forbids and much software stumbles over.
        proxies: addresses and networks of the load balancers that all connections come through. Each has to begin
            with a PROXY header; who comes from elsewhere is sent away. Who connects without an IP address that the
            balancer could tell is ``"unknown"``, and never taken for the balancer.
        trusted_peers: addresses and networks of peers that may speak for other clients, with those of XCLIENT and
            XFORWARD that ``extensions`` has.
        greeting_delay: seconds before the greeting in which a client that speaks is refused with 554: no mail client
            does, many worms do. Whether one is caught depends on time, and everybody else waits.
        forbid_illegal_pipelining: refuse with 554, and hang up on, who sends something behind EHLO, DATA or AUTH
            without waiting for the reply, or behind anything where PIPELINING was not offered (RFC 2920 section 3.1).
            Only what came together is seen, so this too depends on time; and clients that do it are mostly, but not
            all, no mail clients.
        tolerances: what is let pass of what clients do otherwise than the RFCs say. Nothing by default: who deviates
            here is mostly no mail client.
        unknown_parameters: what becomes of MAIL and RCPT with a parameter that nobody here knows.
        extensions: those that are offered; `with_extensions` adds to the default ones.
        limits: the bounds of each connection.
    """

    hostname: str = "localhost"
    greeting: str = "ESMTP"
    max_message_size: int = 32 << 20
    starttls: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    allow_plaintext_auth: bool = False
    require_tls: bool = False
    require_auth: bool = False
    lmtp: bool = False
    bare_newlines: BareNewlines = BareNewlines.REJECT
    allow_nul: bool = False
    proxies: tuple[str, ...] = ()
    trusted_peers: tuple[str, ...] = ()
    greeting_delay: float = 0.0
    forbid_illegal_pipelining: bool = False
    tolerances: frozenset[Tolerance] = frozenset()
    unknown_parameters: UnknownParameters = UnknownParameters.REFUSE
    extensions: tuple[Extension, ...] = DEFAULT_EXTENSIONS
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_fields(self)
        check_each("extensions", self.extensions, Extension)
        check_each("tolerances", self.tolerances, Tolerance)
        check_domain(self.hostname)
        if not self.hostname.isascii():
            raise GrammarError("the hostname is said before UTF-8 is agreed on: give it in A-labels")
        keywords = {extension.keyword for extension in self.extensions}
        for keyword in keywords & _NEEDS.keys():
            if _NEEDS[keyword] not in keywords:
                raise GrammarError(f"{keyword} may not be offered without {_NEEDS[keyword]}")
        check_networks(self.proxies, self.trusted_peers)
        check_mechanisms(self.auth_mechanisms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SMTPClientConfig:
    """How a client behaves where the RFCs leave the choice.

    Args:
        pipelining: send commands ahead of their replies to servers that offer it (RFC 2920).
        chunking: send messages with BDAT to servers that offer it (RFC 3030).
        lmtp: speak LMTP (RFC 2033): LHLO, and a reply for each recipient to a message.
        tolerances: what is let pass of what servers do otherwise than the RFCs say.
        idna_encode: makes A-labels of a domain, for servers without SMTPUTF8; raises `UnicodeError` if there are
            none. The default knows IDNA 2003. With the package ``idna``,
            ``lambda domain: idna.encode(domain).decode()`` is IDNA 2008.
        extensions: those that are used where the server offers them.
        limits: the bounds and the timeouts of the connection.
    """

    pipelining: bool = True
    chunking: bool = True
    lmtp: bool = False
    tolerances: frozenset[Tolerance] = frozenset({Tolerance.AUTH_EQUALS})
    idna_encode: Callable[[str], str] = idna_2003
    extensions: tuple[Extension, ...] = ALL_EXTENSIONS
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_fields(self)
        check_each("extensions", self.extensions, Extension)
        check_each("tolerances", self.tolerances, Tolerance)


ConfigT = TypeVar("ConfigT", SMTPServerConfig, SMTPClientConfig)


def with_extensions(config: ConfigT, *extensions: Extension) -> ConfigT:
    """Return the config with these extensions added; one whose keyword is there already takes its place.

    The same can be said by hand, ``extensions=(*DEFAULT_EXTENSIONS, DSN)``, and what is not wanted left out.
    """
    by_keyword = {extension.keyword: extension for extension in (*config.extensions, *extensions)}
    return replace(config, extensions=tuple(by_keyword.values()))
