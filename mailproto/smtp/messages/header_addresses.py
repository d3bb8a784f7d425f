"""Whom the header fields of an ``email`` message name: who sends it, and who is to have it.

This module is loaded once there is such a message, for the standard library's parsers of header fields are slow to
load.
"""

from __future__ import annotations

from email.headerregistry import HeaderRegistry
from email.message import Message
from typing import Any

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp.messages.bounded import bounded
from mailproto.smtp.messages.writing import unfolded

_HEADERS = HeaderRegistry()
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
    try:
        values = message.get_all(name, ())
        headers: list[Any] = [
            value if hasattr(value, "addresses") else _HEADERS(name, unfolded(str(value))) for value in values
        ]
    except Exception as error:  # the parser of the standard library falls over in many ways
        raise GrammarError(f"the field {name} cannot be read") from error
    if any(str(defect).startswith(_UNREADABLE) for header in headers for defect in header.defects):
        raise GrammarError(f"the field {name} has something else between its addresses")
    found = [mailbox.addr_spec for header in headers for mailbox in header.addresses]
    if any(_LOST in address for address in found):
        raise GrammarError(f"the field {name} has octets in an address that the message cannot tell as text")
    return list(map(Address.parse, found))
