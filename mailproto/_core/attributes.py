"""What a trusted proxy tells of the client behind it: names and values, as far as every protocol has them alike."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from mailproto._core.codec import parse_uint
from mailproto.errors import GrammarError

Attributes: TypeAlias = Mapping[str, str | None]
"""Name, in upper case, to value; None where the proxy does not know it."""


def split_attributes(text: str, names: Iterable[str]) -> dict[str, str]:
    """Return name, in upper case, and undecoded value of each of the words ``NAME=value``.

    Raises:
        GrammarError: one is not such a word with a name in ``names``, or a name stands there twice.
    """
    found: dict[str, str] = {}
    for word in text.split(" "):
        name, equals, value = word.partition("=")
        key = name.upper()
        if key not in names or not equals or key in found:
            raise GrammarError("not an attribute")
        found[key] = value
    return found


def join_attributes(attributes: Attributes, names: Iterable[str], encode: Callable[[str, str | None], str]) -> str:
    """Return the argument of a command for these attributes, each value as ``encode(name, value)`` writes it.

    Raises:
        GrammarError: there are none, or one that the command does not have, or a value that cannot be.
    """
    words = []
    for name, value in attributes.items():
        key = name.upper()
        if key not in names:
            raise GrammarError(f"no attribute {name!a:.40}")
        words.append(f"{key}={encode(key, value)}")
    if not words:
        raise GrammarError("no attributes")
    return " ".join(words)


def check_address(value: str) -> str:
    """Return an IP address, which may have ``IPV6:`` in front where it is one of those; else raise `GrammarError`."""
    text = value[5:] if value[:5].upper() == "IPV6:" else value
    if "%" in text:
        raise GrammarError("a scope of an IPv6 address means nothing elsewhere")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise GrammarError("not an IP address in an attribute") from None


def check_port(value: str) -> str:
    """Return the number of a port; else raise `GrammarError`."""
    if parse_uint(value.encode("utf-8"), max_digits=5) > 0xFFFF:
        raise GrammarError("not a port in an attribute")
    return value
