"""The attributes of XCLIENT and XFORWARD: what a trusted proxy or filter tells of the client behind it.

``XCLIENT NAME=spike.example ADDR=192.0.2.1`` is Postfix's, and spoken by others: pairs of a name and an xtext, where
``[UNAVAILABLE]`` and ``[TEMPUNAVAIL]`` say that there is none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import TypeAlias

from mailproto._core.codec import decode_xtext, encode_xtext, parse_uint
from mailproto.errors import GrammarError

Attributes: TypeAlias = Mapping[str, str | None]
"""Name, in upper case, to value; None where the proxy does not know it."""

XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")

_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_MAX_VALUE = 255


def parse_attributes(text: str, names: tuple[str, ...]) -> dict[str, str | None]:
    """Return the attributes of a command's argument.

    Raises:
        GrammarError: not pairs of a name in ``names`` and an xtext, one stands there twice, or a value is none.
    """
    found: dict[str, str | None] = {}
    for word in text.split(" "):
        name, equals, value = word.partition("=")
        key = name.upper()
        if key not in names or not equals or key in found:
            raise GrammarError("not an attribute")
        found[key] = _decode(key, value)
    return found


def format_attributes(attributes: Attributes, names: tuple[str, ...]) -> str:
    """Return the argument of a command for these attributes.

    Raises:
        GrammarError: there are none, or one that the command does not have, or a value that cannot be.
    """
    words = []
    for name, value in attributes.items():
        key = name.upper()
        if key not in names:
            raise GrammarError(f"no attribute {name!a:.40}")
        words.append(f"{key}={_encode(key, value)}")
    if not words:
        raise GrammarError("no attributes")
    return " ".join(words)


def _decode(name: str, text: str) -> str | None:
    if text.upper() in _UNKNOWN:
        return None
    try:
        value = decode_xtext(text.encode("utf-8")).decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("an attribute that is not UTF-8") from None
    if not 0 < len(value) <= _MAX_VALUE:
        raise GrammarError("an attribute without a value, or with too much of it")
    return _CHECKS.get(name, _as_it_is)(value)


def _encode(name: str, value: str | None) -> str:
    if value is None:
        return _UNKNOWN[0]
    if not 0 < len(value) <= _MAX_VALUE:
        raise GrammarError("an attribute without a value, or with too much of it")
    checked = _CHECKS.get(name, _as_it_is)(value)
    prefix = "IPV6:" if name in _ADDRESSES and ":" in checked else ""
    return prefix + encode_xtext(checked.encode("utf-8")).decode("ascii")


def _as_it_is(value: str) -> str:
    return value


def _address(value: str) -> str:
    """Return an IP address, which has ``IPV6:`` in front on the wire where it is one of those."""
    text = value[5:] if value[:5].upper() == "IPV6:" else value
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise GrammarError("not an IP address in an attribute") from None


def _port(value: str) -> str:
    if parse_uint(value.encode("utf-8"), max_digits=5) > 0xFFFF:
        raise GrammarError("not a port in an attribute")
    return value


def _protocol(value: str) -> str:
    if value.upper() not in ("SMTP", "ESMTP", "LMTP"):
        raise GrammarError("not a protocol in an attribute")
    return value.upper()


_ADDRESSES = ("ADDR", "DESTADDR")
_CHECKS: dict[str, Callable[[str], str]] = {
    "ADDR": _address,
    "DESTADDR": _address,
    "PORT": _port,
    "DESTPORT": _port,
    "PROTO": _protocol,
}
