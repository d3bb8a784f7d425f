"""Domains that are not ASCII, for servers that take nothing else: as A-labels (RFC 5890 section 2.3.2.1)."""

from __future__ import annotations

from collections.abc import Callable

from mailproto._core.checks import check_kind
from mailproto.address import Address, check_domain
from mailproto.errors import GrammarError, NotSupportedError

_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")


def idna_2003(domain: str) -> str:
    """Return the domain in A-labels by the standard library's codec, which knows IDNA 2003 (RFC 3490).

    The four characters that IDNA 2008 gives another meaning are refused: they would lead to somebody else's domain.

    Raises:
        GrammarError: it has one of them.
        UnicodeError: it has no such form.
    """
    if not _DEVIATIONS.isdisjoint(domain):
        raise GrammarError(f"{domain!a:.100} needs IDNA 2008, which is not known here: write it in A-labels")
    return domain.encode("idna").decode("ascii")


def encode_domain(domain: str, encode: Callable[[str], str] = idna_2003) -> str:
    """Return a domain in ASCII.

    Args:
        encode: makes A-labels of a domain that is not ASCII, and raises `UnicodeError` when it cannot.

    Raises:
        GrammarError: there is no such form.
        TypeError: it is no text.
    """
    check_kind("a domain", domain, str)
    if domain.isascii():
        return domain
    check_domain(domain)  # above all its length, for not every codec is linear
    try:
        encoded = encode(domain)
    except UnicodeError:
        raise GrammarError(f"no domain name: {domain!a:.100}") from None
    # A character that a codec takes for a dot would make another domain of it.
    if not encoded.isascii() or encoded.count(".") != domain.count("."):
        raise GrammarError(f"no A-labels for {domain!a:.100}")
    check_domain(encoded)
    return encoded


def encode_address(address: Address, encode: Callable[[str], str] = idna_2003) -> Address:
    """Return an address as it can be sent without SMTPUTF8.

    Raises:
        NotSupportedError: its local part is not ASCII, and nobody but its own server may change that.
        GrammarError: its domain has no such form.
    """
    if address.is_ascii:
        return address
    if not address.local_part.isascii():
        raise NotSupportedError(f"{address} cannot be sent without SMTPUTF8")
    return Address(address.local_part, encode_domain(address.domain, encode))
