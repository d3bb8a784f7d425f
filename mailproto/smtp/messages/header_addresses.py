"""Whom the header fields of an ``email`` message name: who sends it, and who is to have it.

This module is loaded once there is such a message, for the standard library's parsers of header fields are slow to
load.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from typing import Any

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp.messages.bounded import bounded
from mailproto.smtp.messages.writing import decoded, unfolded

_QUOTED = r'"(?:[^"\\=]|\\.|=(?!\?))*+"'
_ENCODED_WORD = r'=\?[^?,"\s]+\?[BbQq]\?[^?"\s]*+\?='
_COMMENT = r"\((?:[^()\\=]|\\.|=(?!\?))*+\)"
_PLAIN = r'[^,"=()\[\]:;\\<]|=(?!\?)|<(?!\s*@)'
_WORDS = f"(?:{_PLAIN}|{_QUOTED}|{_ENCODED_WORD}|{_COMMENT})*+"
_ELEMENT = re.compile(f"({_WORDS}),", re.DOTALL)
_GROUP = re.compile(rf"({_WORDS}:)((?:{_WORDS},)*+{_WORDS});[ \t]*(?:,|\Z)", re.DOTALL)
_LOST = "\ufffd"  # what the standard library puts where it could not decode
_UNREADABLE = ("invalid address", "invalid mailbox")  # how the defects begin behind which an address may be lost


def sender_of(message: Message[Any, Any]) -> Address:
    """Return whom a message is from: Sender, or else the first of From (RFC 5322 section 3.6.2).

    Raises:
        GrammarError: it does not say.
    """
    prefix = _resent_prefix(message)
    for name in (f"{prefix}Sender", f"{prefix}From"):
        found = _header_addresses(message, name)
        if found:
            return found[0]
    raise GrammarError("the message has neither Sender nor From")


def recipients_of(message: Message[Any, Any]) -> list[Address]:
    """Return whom a message is to, each once: To, Cc and Bcc, in this order."""
    prefix = _resent_prefix(message)
    names = (f"{prefix}To", f"{prefix}Cc", f"{prefix}Bcc")
    return list(dict.fromkeys(address for name in names for address in _header_addresses(message, name)))


def has_utf8_addresses(message: Message[Any, Any]) -> bool:
    """Say whether a header field has an address that is not ASCII; of `EmailMessage`, for others do not tell."""
    policy = bounded(message.policy)
    values = (parsed_field(policy, name, raw) for name, raw in message.raw_items())
    return any(not mailbox.addr_spec.isascii() for value in values for mailbox in getattr(value, "addresses", ()))


def parsed_field(policy: Any, name: str, raw: Any) -> Any:
    """Return a field as the policy of its message has it, if it is not ASCII; else as it is.

    So is one that the standard library cannot parse, or not in reasonable time, which names nobody.
    """
    if str(raw).isascii():
        return raw
    try:
        return policy.header_fetch_parse(name, raw)
    except Exception:  # the parser of the standard library falls over in many ways
        return raw


def _resent_prefix(message: Message[Any, Any]) -> str:
    dates = len(message.get_all("Resent-Date", ()))
    if dates > 1:
        raise GrammarError("the message was resent more than once: say to whom it goes now")
    return "Resent-" if dates else ""


def _header_addresses(message: Message[Any, Any], name: str) -> list[Address]:
    """Return the addresses in the fields of this name.

    Raises:
        GrammarError: one of them is none, or there may be more than could be read: nobody is left out in silence.
    """
    policy = bounded(email.policy.default)
    headers: list[Any] = []
    try:
        for value in _values(message, name):
            if hasattr(value, "addresses"):
                headers.append(value)
            else:
                headers += [policy.header_factory(name, each) for each in _elements(unfolded(str(value)))]
    except Exception as error:  # the parser of the standard library falls over in many ways
        raise GrammarError(f"the field {name} cannot be read") from error
    if any(str(defect).startswith(_UNREADABLE) for header in headers for defect in header.defects):
        raise GrammarError(f"the field {name} has something else between its addresses")
    found = [mailbox.addr_spec for header in headers for mailbox in header.addresses]
    if any(_LOST in address for address in found):
        raise GrammarError(f"the field {name} has octets in an address that the message cannot tell as text")
    return list(map(Address.parse, found))


def _values(message: Message[Any, Any], name: str) -> Iterator[Any]:
    """Yield the values of the fields of this name, as text unless they were read already."""
    for each, raw in message.raw_items():
        if each.lower() == name.lower():
            yield raw if hasattr(raw, "addresses") else _text(each, raw)


def _text(name: str, raw: Any) -> Any:
    """Return a value as text. Octets in it are UTF-8, or lost."""
    if isinstance(raw, str):
        with suppress(UnicodeError):
            return decoded(raw)
    return email.policy.compat32.header_fetch_parse(name, raw)


def _elements(value: str) -> Iterator[str]:
    """Yield a list of addresses in pieces, because the time to read one grows with the square of its length.

    From the first address on that is anything rare, such as a route, all of it is one piece.
    """
    at = 0
    while match := _ELEMENT.match(value, at) or _GROUP.match(value, at):
        if match.re is _GROUP:
            yield f"{match[1]};"
            yield from _elements(match[2])
        elif element := match[1].strip(" \t"):  # there were lists with empty ones (RFC 5322 section 4.4)
            yield element
        at = match.end()
    yield value[at:]
