"""The frame in which an SMTP extension is one value: its keyword, when it is offered, its parameters.

Everything here is open to extensions of your own (RFC 5321 section 2.2.2): make an `Extension` of a keyword, of the
`Parameter` values it adds to MAIL and RCPT, and of the commands it has itself, and put it into a config's
``extensions``, on either side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mailproto._core.codec import parse_uint
from mailproto._core.events import TLSInfo
from mailproto._core.limits import Limits
from mailproto._core.server import is_foreign
from mailproto.errors import GrammarError
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import VERBS

_VERB = re.compile(r"[A-Z][A-Z0-9-]+")


class Settings(Protocol):
    """The part of a server's config that decides what it offers; `SMTPServerConfig` is one."""

    @property
    def max_message_size(self) -> int:
        """The largest message taken, in octets, or 0."""

    @property
    def starttls(self) -> bool:
        """Whether there is a certificate."""

    @property
    def limits(self) -> Limits:
        """The bounds of a connection."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server's offer may depend on: its config, what the client has reached so far, and how it may log in."""

    config: Settings
    secure: bool
    authenticated: bool
    trusted: bool = False
    auth_mechanisms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offered:
    """An extension as a server has offered it to a client.

    ``argument`` is what stands behind the keyword in the reply to EHLO, ``tls`` the session that it came through,
    and ``keywords`` all that was offered with it.
    """

    argument: str
    tls: TLSInfo | None
    keywords: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its keyword, how its value is read and written, and the field that it fills.

    Args:
        keyword: in upper case.
        parse: gets the text behind ``=``, or None, and returns the value or raises `ValueError`.
        format: gets the value and returns that text, or None when the keyword stands alone. What may not stand in
            a parameter is found out afterwards.
        field: of `MailParameters` or `RcptParameters`; without one the value goes into ``extra``.
        kind: the type of the values, where several parameters fill one field.
        format_ascii: the same as ``format`` for a message without SMTPUTF8, where that is something else.
        check: on a server, gets the config and a value, and returns the reply that refuses it, or None. Refuse so
            what is well-formed and cannot be honoured.
        fit: on a client, gets what the server has offered and a value, and raises `NotSupportedError` when the one
            has no room for the other.
    """

    keyword: str
    parse: Callable[[str | None], Any]
    format: Callable[[Any], str | None]
    field: str | None = None
    kind: type = object
    format_ascii: Callable[[Any], str | None] | None = None
    check: Callable[[Settings, Any], Reply | None] | None = None
    fit: Callable[[Offered, Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension of SMTP.

    ``offer`` returns what stands behind the keyword in the reply to EHLO (``""`` if nothing does), or None when
    the extension is not to be offered. ``mail`` and ``rcpt`` are the parameters that it adds to the commands, and
    ``commands`` are the verbs that it has itself, in upper case: from a client that was offered the extension they
    come as `ExtensionCommand`. Those without an RFC begin with an X (RFC 5321 section 4.1.5).

    Raises:
        GrammarError: a command is no verb, or SMTP has it already.
    """

    keyword: str
    rfc: str
    offer: Callable[[Standing], str | None] = field(repr=False)
    mail: tuple[Parameter, ...] = field(default=(), repr=False)
    rcpt: tuple[Parameter, ...] = field(default=(), repr=False)
    commands: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for verb in self.commands:
            check_verb(verb)
            if verb in VERBS:
                raise GrammarError(f"SMTP has {verb} already")
            if is_foreign(b"%s " % verb.encode("ascii")):
                raise GrammarError(f"a client that says {verb} is taken for one of HTTP, and hung up on")


def check_verb(verb: str) -> None:
    """Raise `GrammarError` unless ``verb`` can begin a command: letters, and behind the first one what else keywords
    have (RFC 5321 sections 4.1.1 and 4.1.1.1), in upper case."""
    if not _VERB.fullmatch(verb):
        raise GrammarError(f"not a verb in upper case: {verb!a:.40}")


def offer_always(_: Standing) -> str:
    """Offer an extension without an argument, to every client."""
    return ""


def flag(keyword: str, field: str, fit: Callable[[Offered, Any], None] | None = None) -> Parameter:
    """Return a parameter without a value, which is there (True) or is not."""
    return Parameter(keyword, _parse_flag, lambda _: None, field, fit=fit)


def _parse_flag(text: str | None) -> bool:
    if text is not None:
        raise GrammarError("this parameter takes no value")
    return True


def parse_number(digits: str, max_digits: int = 20) -> int:
    """Return the number that 1 to ``max_digits`` ASCII digits stand for; raise `GrammarError` for all else."""
    return parse_uint(digits.encode("utf-8"), max_digits)


def need_value(text: str | None) -> str:
    """Return ``text``; raise `GrammarError` for a parameter that came without a value."""
    if text is None:
        raise GrammarError("this parameter needs a value")
    return text


def mail_parameters(extensions: Iterable[Extension]) -> dict[str, Parameter]:
    """Return the parameters that these extensions add to MAIL, by keyword."""
    return {parameter.keyword: parameter for extension in extensions for parameter in extension.mail}


def rcpt_parameters(extensions: Iterable[Extension]) -> dict[str, Parameter]:
    """Return the parameters that these extensions add to RCPT, by keyword."""
    return {parameter.keyword: parameter for extension in extensions for parameter in extension.rcpt}
