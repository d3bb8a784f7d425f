"""Mailboxes, domains and paths: the grammar of RFC 5321 sections 4.1.2 and 4.1.3, with RFC 6531 section 3.3.

An address is parsed once, into its local part and its domain, and always written from these parts again: the
caller's own string never reaches the wire, so nothing can be smuggled in it. This is the grammar of envelopes: no
comments, no display names, no folding. Addresses in headers are the business of the standard library's ``email``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from mailproto._core.codec import UNSAFE
from mailproto.errors import GrammarError

__all__ = [
    "POSTMASTER",
    "Address",
    "Path",
    "address_literal",
    "check_address",
    "check_domain",
    "format_path",
    "parse_path",
]

# Beyond ASCII whatever RFC 6531 allows, but for what is never safe.
_ATOM = rf"[^{UNSAFE} \"(),.:;<>@\[\]\\]+"
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED_STRING = rf'"(?:[^{UNSAFE}"\\]|\\[ -~])*"'
_LET_DIG = rf"[^{UNSAFE} -/:-@\[-`{{-~]"
_DOMAIN = rf"{_LET_DIG}+(?:(?:-+|\.){_LET_DIG}+)*"  # labels, which neither begin nor end with a hyphen, and dots
_LITERAL = r"\[[!-Z^-~]+\]"
_MAILBOX = rf"({_DOT_STRING}|{_QUOTED_STRING})@({_DOMAIN}|{_LITERAL})"
_ROUTE = rf"(?:(@{_DOMAIN}(?:,@{_DOMAIN})*):)?"

_DOT_STRING_RE = re.compile(_DOT_STRING)
_DOMAIN_RE = re.compile(_DOMAIN)
_MAILBOX_RE = re.compile(_MAILBOX)
_PATH_RE = re.compile(f"<{_ROUTE}{_MAILBOX}>(.*)", re.DOTALL)
_QUOTABLE_RE = re.compile(f"[^{UNSAFE}]*")
_QUOTED_PAIR_RE = re.compile(r"\\(.)")
_GENERAL_LITERAL_RE = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")

MAX_LOCAL_PART, MAX_DOMAIN, MAX_PATH = 64, 255, 256  # octets, RFC 5321 section 4.5.3.1

_REMEMBERED = 256  # addresses: most messages of a client are from the same few

P = ParamSpec("P")
R = TypeVar("R")

# Makes plain text of text. A kind of its own, such as a member of an enumeration, may be written otherwise than it
# reads, and be equal to what is written otherwise.
_exact = str.__str__


def _of_two(make: Callable[P, R]) -> Callable[P, R]:
    """Have who gives an address as one text told what makes one of it, for what Python says tells nothing of that."""

    @wraps(make)
    def made(*parts: P.args, **named: P.kwargs) -> R:
        if len(parts) + len(named) < 3:  # the class and one text
            raise TypeError("an address is made of a local part and a domain: Address.parse makes one of text")
        return make(*parts, **named)

    return made


class _Parts(NamedTuple):
    local_part: str
    domain: str


class Address(_Parts):
    """A mailbox: ``local_part`` as it is meant, without quotes, and ``domain``, a name or an address literal.

    ``str(address)`` gives the wire form, quoted where it has to be. Local parts are never folded or normalised:
    only their own server knows what is equal (RFC 5321 section 2.4). It is a tuple of the two, so that text is made
    of it with ``f"{address}"``, and not with ``%``.

    Raises:
        GrammarError: the parts are not what RFC 5321 and RFC 6531 allow.
    """

    __slots__ = ()

    @_of_two
    def __new__(cls, local_part: str, domain: str) -> Self:
        local_part, domain = _exact(local_part), _exact(domain)
        if domain or local_part != "postmaster":
            _check_local_part(local_part)
            check_domain(domain)
            _check_lengths(_written(local_part), domain)
        return super().__new__(cls, local_part, domain)

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**(self._asdict() | changes))  # checked like every other

    __replace__ = _replace

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the mailbox that ``text`` is, such as ``ada@example.org`` or ``"a b"@[192.0.2.1]``.

        Raises:
            GrammarError: ``text`` is not a Mailbox of RFC 5321 section 4.1.2, and nothing but one.
            TypeError: it is no text.
        """
        try:
            return _parsed(_exact(text))
        except TypeError:
            raise TypeError(f"the text of an address is wanted, not {type(text).__name__}") from None

    @property
    def is_ascii(self) -> bool:
        """Whether the address can be sent without SMTPUTF8."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def canonical(self) -> Address:
        """The same address with the domain in lower case, for comparing and for keys.

        A domain that is not ASCII stays as it is written. All spellings of one, U-labels and A-labels, have the same
        `mailproto.smtp.routing.lookup_name`.
        """
        domain = self.domain.lower() if self.domain.isascii() else self.domain
        return tuple.__new__(Address, (self.local_part, domain))

    def __str__(self) -> str:
        local, domain = self
        written = _written(local)
        return f"{written}@{domain}" if domain else written


POSTMASTER = Address("postmaster", "")
"""The recipient ``<Postmaster>`` without a domain, which every server has to take (RFC 5321 section 4.5.1)."""


class Path(NamedTuple):
    """A path as it came: the mailbox (None: the null reverse-path), the source route that was ignored, the rest.

    ``rest`` is what stands behind the closing bracket.
    """

    address: Address | None
    route: str | None
    rest: str


def parse_path(text: str, *, null: bool = False, postmaster: bool = False) -> Path:
    """Parse the Path that ``text`` begins with: ``<ada@example.org>``, ``<@relay:ada@example.org>``, ``<>``.

    A source route is accepted and ignored (RFC 5321 section 3.6.1). The end of the path is found by the grammar,
    so a ``>`` in a quoted local part ends nothing.

    Args:
        null: whether ``<>`` may stand here (a reverse-path).
        postmaster: whether ``<Postmaster>`` may stand here (a forward-path).

    Raises:
        GrammarError: ``text`` does not begin with a path, or it is too long.
    """
    return Path(*split_path(text, null, postmaster))


def split_path(text: str, null: bool, postmaster: bool) -> tuple[Address | None, str | None, str]:
    """Return what `parse_path` does as a plain tuple, for a server that reads thousands of paths a second."""
    match = _PATH_RE.match(text)
    if match is not None:
        route, local, domain, rest = match.groups()
        return _mailbox(local, domain), route, rest
    if null and text.startswith("<>"):
        return None, None, text[2:]
    if postmaster and text[:12].lower() == "<postmaster>":
        return POSTMASTER, None, text[12:]
    raise GrammarError("not a path")


def format_path(address: Address | None) -> str:
    """Return the wire form of a path, ``<>`` for None. A source route is never written."""
    return "<>" if address is None else _path(*address)


def check_address(address: object) -> None:
    """Raise `TypeError` unless this is an `Address`, in which nothing can be smuggled, as it can in text."""
    if not isinstance(address, Address):
        raise TypeError(f"an Address is wanted, not {type(address).__name__}: Address.parse makes one of text")


def check_domain(domain: str) -> None:
    """Raise `GrammarError` unless ``domain`` is a Domain or an address-literal of at most 255 octets."""
    if domain.startswith("["):
        _check_literal(domain)
    elif not _DOMAIN_RE.fullmatch(domain):
        raise GrammarError(f"not a domain: {domain!a:.100}")
    if _octets(domain) > MAX_DOMAIN:
        raise GrammarError("the domain is longer than 255 octets")


def address_literal(host: str) -> str:
    """Return the address literal of an IP address: ``[192.0.2.1]``, ``[IPv6:2001:db8::1]``.

    This is what a client without a name says in EHLO (RFC 5321 section 4.1.4). A scope of an IPv6 address is
    dropped, for it means nothing elsewhere.

    Raises:
        GrammarError: ``host`` is not an IP address.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        raise GrammarError(f"not an IP address: {host!a:.100}") from None
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


@lru_cache(maxsize=_REMEMBERED)
def _parsed(text: str) -> Address:
    match = _MAILBOX_RE.fullmatch(text)
    if match is None:
        raise GrammarError(f"not a mailbox, such as ada@example.org: {text!a:.100}")
    return _mailbox(*match.groups())


@lru_cache(maxsize=_REMEMBERED)
def _path(local: str, domain: str) -> str:
    """Return the path of an address by its parts, for one of a kind of its own may show itself otherwise."""
    return f"<{tuple.__new__(Address, (local, domain))}>"


def _mailbox(local: str, domain: str) -> Address:
    """Return the mailbox of a local part and a domain as they are written."""
    whole = local + domain
    if local[0] == '"':
        local = _QUOTED_PAIR_RE.sub(r"\1", local[1:-1])
        if not local:
            raise GrammarError("the local part is empty")
    if domain[0] == "[":
        _check_literal(domain)
    if len(whole) > MAX_LOCAL_PART or not whole.isascii():  # that limit is the shortest: most keep to all at once
        _check_lengths(_written(local), domain)
    return tuple.__new__(Address, (local, domain))


def _written(local: str) -> str:
    """Return a local part as it goes on the wire, quoted if it is no Dot-string, and no more than it has to be."""
    if _DOT_STRING_RE.fullmatch(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check_lengths(local: str, domain: str) -> None:
    """Raise `GrammarError` if an address, as it is written, is longer than RFC 5321 section 4.5.3.1 allows."""
    local_octets, domain_octets = _octets(local), _octets(domain)
    if local_octets > MAX_LOCAL_PART:
        raise GrammarError("the local part is longer than 64 octets")
    if domain_octets > MAX_DOMAIN:
        raise GrammarError("the domain is longer than 255 octets")
    if local_octets + domain_octets + len("<@>") > MAX_PATH:
        raise GrammarError("the path is longer than 256 octets")


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _check_local_part(local: str) -> None:
    if not local or not _QUOTABLE_RE.fullmatch(local):
        raise GrammarError(f"not a local part: {local!a:.100}")


def _check_literal(domain: str) -> None:
    """Check an address-literal (RFC 5321 section 4.1.3): IPv4, IPv6 without a zone, or a tagged general one."""
    content = domain[1:-1] if domain.endswith("]") else ""
    try:
        if content[:5].lower() == "ipv6:":
            if "%" in content:
                raise GrammarError("an IPv6 address literal has no zone")
            ipaddress.IPv6Address(content[5:])
        elif not _GENERAL_LITERAL_RE.fullmatch(content):
            ipaddress.IPv4Address(content)
    except ipaddress.AddressValueError:
        raise GrammarError(f"not an address literal: {domain!a:.100}") from None
