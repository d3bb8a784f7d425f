"""The frame in which an SMTP extension is one value: its keyword, when it is offered, its parameters.

A server offers `DEFAULT_EXTENSIONS` unless its config says otherwise; an extension of your own is an `Extension`
added to that tuple (RFC 5321 section 2.2.2). A client knows the same tuple and uses what the server offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from mailproto.smtp import parameters
from mailproto.smtp.parameters import Parameter


class Settings(Protocol):
    """The part of a server's config that decides what it offers; `SMTPServerConfig` is one."""

    @property
    def max_message_size(self) -> int:
        """The largest message taken, in octets, or 0."""

    @property
    def starttls(self) -> bool:
        """Whether there is a certificate."""

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms, best first."""

    @property
    def allow_plaintext_auth(self) -> bool:
        """Whether AUTH is offered without TLS."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server's offer may depend on: its config, and what the client has reached so far."""

    config: Settings
    secure: bool
    authenticated: bool


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension of SMTP.

    ``offer`` returns what stands behind the keyword in the reply to EHLO (``""`` if nothing does), or None when
    the extension is not to be offered. ``mail`` and ``rcpt`` are the parameters that it adds to the commands.
    """

    keyword: str
    rfc: str
    offer: Callable[[Standing], str | None]
    mail: tuple[Parameter, ...] = ()
    rcpt: tuple[Parameter, ...] = ()


def _always(_: Standing) -> str:
    return ""


def _offer_size(standing: Standing) -> str:
    return str(standing.config.max_message_size)


def _offer_starttls(standing: Standing) -> str | None:
    return "" if standing.config.starttls and not standing.secure else None


def _offer_auth(standing: Standing) -> str | None:
    config = standing.config
    if not config.auth_mechanisms or not (standing.secure or config.allow_plaintext_auth):
        return None
    return " ".join(config.auth_mechanisms)


PIPELINING = Extension("PIPELINING", "RFC 2920", _always)
SIZE = Extension("SIZE", "RFC 1870", _offer_size, mail=(parameters.SIZE,))
EIGHT_BIT_MIME = Extension("8BITMIME", "RFC 6152", _always, mail=(parameters.BODY,))
SMTPUTF8 = Extension("SMTPUTF8", "RFC 6531", _always, mail=(parameters.SMTPUTF8,))
ENHANCED_STATUS_CODES = Extension("ENHANCEDSTATUSCODES", "RFC 2034", _always)
CHUNKING = Extension("CHUNKING", "RFC 3030", _always)
BINARYMIME = Extension("BINARYMIME", "RFC 3030", _always)
STARTTLS = Extension("STARTTLS", "RFC 3207", _offer_starttls)
AUTH = Extension("AUTH", "RFC 4954", _offer_auth, mail=(parameters.AUTH,))

DEFAULT_EXTENSIONS: tuple[Extension, ...] = (
    PIPELINING,
    SIZE,
    EIGHT_BIT_MIME,
    SMTPUTF8,
    ENHANCED_STATUS_CODES,
    CHUNKING,
    STARTTLS,
    AUTH,
)
"""What the library speaks, in the order in which a server offers it."""


def mail_parameters(extensions: Iterable[Extension]) -> dict[str, Parameter]:
    """Return the parameters that these extensions add to MAIL, by keyword."""
    return {parameter.keyword: parameter for extension in extensions for parameter in extension.mail}


def rcpt_parameters(extensions: Iterable[Extension]) -> dict[str, Parameter]:
    """Return the parameters that these extensions add to RCPT, by keyword."""
    return {parameter.keyword: parameter for extension in extensions for parameter in extension.rcpt}
