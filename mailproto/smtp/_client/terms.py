"""What a server has offered a client in its reply to EHLO, and which parameters may be written because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mailproto._core.events import TLSInfo
from mailproto.errors import GrammarError
from mailproto.smtp.config import Tolerance
from mailproto.smtp.extensions import ALL_EXTENSIONS, LIMITS, Extension, Offered, Parameter
from mailproto.smtp.extensions.frame import parse_number
from mailproto.smtp.extensions.limits import NO_LIMITS, parse_limits

_NOTHING: Mapping[str, str] = {}
_KNOWN = {extension.keyword: extension for extension in ALL_EXTENSIONS}


class Terms:
    """The extensions in use on one connection: none before EHLO, none after HELO.

    Attributes:
        keywords: those of the extensions that the server offers and this client knows.
        mail: the parameters that may be written in MAIL, by keyword; each sees to it that its value suits the server.
        rcpt: those of RCPT.
        limits: how much the server takes.
        max_size: the octets of the largest message that it takes, None if it does not say (RFC 1870).
        plain: whether a message may be sent as a plain transaction: whatever the domains of its recipients, and
            without an extension of the application's own, which may have something to say in MAIL.
    """

    __slots__ = ("keywords", "limits", "mail", "max_size", "plain", "rcpt")

    def __init__(
        self,
        extensions: Iterable[Extension] = (),
        keywords: Mapping[str, str] = _NOTHING,
        tls: TLSInfo | None = None,
    ) -> None:
        self.keywords: set[str] = set()
        self.mail: dict[str, Parameter] = {}
        self.rcpt: dict[str, Parameter] = {}
        self.limits = NO_LIMITS
        self.max_size = _read_size(keywords.get("SIZE", ""))
        own = False
        for extension in extensions:
            argument = keywords.get(extension.keyword)
            if argument is None:
                continue
            self.keywords.add(extension.keyword)
            own = own or extension is not _KNOWN.get(extension.keyword)
            offered = Offered(argument, tls, keywords)
            self.mail.update((parameter.keyword, _bind(parameter, offered)) for parameter in extension.mail)
            self.rcpt.update((parameter.keyword, _bind(parameter, offered)) for parameter in extension.rcpt)
            if extension.keyword == LIMITS.keyword:
                self.limits = parse_limits(argument)
        self.plain = self.limits.rcpt_domain_max is None and not own


def read_keywords(
    lines: Iterable[str], tolerances: frozenset[Tolerance] = frozenset()
) -> tuple[dict[str, str], list[Tolerance]]:
    """Return what the lines of a reply to EHLO offer, behind the first: the keywords, in upper case, with what stands
    behind each, and the tolerances that it took.

    Of a keyword that comes twice the first counts, but AUTH adds up.
    """
    keywords: dict[str, str] = {}
    used: list[Tolerance] = []
    for line in lines:
        keyword, _, argument = line.partition(" ")
        keyword = keyword.upper() if keyword.isascii() else keyword
        if keyword.startswith("AUTH=") and Tolerance.AUTH_EQUALS in tolerances:
            keyword, argument = "AUTH", f"{keyword[5:]} {argument}"
            used.append(Tolerance.AUTH_EQUALS)
        if keyword == "AUTH" and keyword in keywords:
            keywords["AUTH"] += f" {argument}"
        else:
            keywords.setdefault(keyword, argument)
    return keywords, used


def _read_size(argument: str) -> int | None:
    """Return the number behind SIZE; none, or zero, is no limit (RFC 1870 section 4)."""
    try:
        return parse_number(argument) or None
    except GrammarError:
        return None


def _bind(parameter: Parameter, offered: Offered) -> Parameter:
    """Return the parameter with the look at the server's offer put in front of its writing."""
    fit = parameter.fit
    if fit is None:
        return parameter

    def behind(write: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        def fit_and_write(value: Any) -> str | None:
            fit(offered, value)
            return write(value)

        return fit_and_write

    ascii_too = parameter.format_ascii
    return replace(
        parameter, format=behind(parameter.format), format_ascii=None if ascii_too is None else behind(ascii_too)
    )
