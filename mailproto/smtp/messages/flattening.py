"""An ``email`` message as octets for one server: in as many bits as the server takes.

Bcc never leaves the caller's copy (RFC 5321 section 7.2). This module is loaded once there is such a message, for the
standard library's parsers of header fields are slow to load.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import suppress
from email.headerregistry import Address as Mailbox
from email.headerregistry import Group, HeaderRegistry
from email.message import Message
from typing import Any

from mailproto.errors import NotSupportedError
from mailproto.smtp.alabels import encode_domain
from mailproto.smtp.messages.bounded import bounded
from mailproto.smtp.messages.downgrade import downgrade, without_binary
from mailproto.smtp.messages.header_addresses import has_utf8_addresses, parsed_field
from mailproto.smtp.messages.writing import readable_errors, write

_OCTET = re.compile(r"[\udc80-\udcff]")  # how the standard library keeps one that is not ASCII
_MAX_FIELDS = 1000  # to put others in their places takes a time that grows with the square of it
_HEADERS = HeaderRegistry()


def flatten(message: Message[Any, Any], *, utf8: bool, eight_bit: bool, idna_encode: Callable[[str], str]) -> bytes:
    """Write the message without its Bcc, in 7 bits if it has to be.

    The standard library can do the latter, too, but where a charset is wrong it gives up, or replaces characters.
    """
    with readable_errors():
        visible = copy.copy(message)
        del visible["Bcc"], visible["Resent-Bcc"]
        if not utf8 and has_utf8_addresses(visible):
            _use_a_labels(visible, idna_encode)
        written = _write(without_binary(visible), utf8)
    return written if eight_bit or utf8 or written.isascii() else downgrade(written)


def _write(message: Message[Any, Any], utf8: bool) -> bytes:
    """Write the message in 8 bits; its fields in the words they came in, if the standard library knows no others."""
    settings: dict[str, Any] = {"cte_type": "8bit"}
    as_it_is: dict[str, Any] = {"refold_source": "none"} if hasattr(message.policy, "refold_source") else {}
    if hasattr(message.policy, "utf8"):
        settings["utf8"] = utf8
    if _has_octets_in_fields(message):
        if "utf8" in settings:
            settings["utf8"] = True  # else they would be made encoded words, of no charset
    else:
        with suppress(Exception):  # it cannot fold every field that it has read, nor a long one in reasonable time
            return write(message, bounded(message.policy.clone(**settings)))
    return write(message, message.policy.clone(**settings, **as_it_is))


def _has_octets_in_fields(message: Message[Any, Any]) -> bool:
    """Say whether a header field has 8-bit octets in it, which the standard library knows no charset for."""
    fields = (raw for part in message.walk() for _, raw in part.raw_items())
    return any(_OCTET.search(raw) for raw in fields if isinstance(raw, str) and not raw.isascii())


def _use_a_labels(message: Message[Any, Any], idna_encode: Callable[[str], str]) -> None:
    """Write the addresses in the header fields of ``message``, whose fields are its own, in ASCII.

    Raises:
        NotSupportedError: the local part of one is not ASCII, and nobody but its own server may change that, or there
            are too many fields.
    """

    def in_ascii(mailbox: Mailbox) -> Mailbox:
        if not mailbox.username.isascii():
            raise NotSupportedError(f"{mailbox.addr_spec!a:.100} in the header needs SMTPUTF8")
        return Mailbox(mailbox.display_name, mailbox.username, encode_domain(mailbox.domain, idna_encode))

    fields = list(message.raw_items())
    if len(fields) > _MAX_FIELDS:
        raise NotSupportedError("the header has too many fields to be rewritten")
    policy = bounded(message.policy)
    for name in {name.lower() for name, _ in fields}:
        del message[name]
    for name, raw in fields:
        groups = getattr(parsed_field(policy, name, raw), "groups", None)
        if groups is None:
            message.set_raw(name, raw)
        else:
            written = [Group(group.display_name, tuple(map(in_ascii, group.addresses))) for group in groups]
            message.set_raw(name, _HEADERS(name, written))
