"""Trace information: the header fields that show a message's way, and the count that ends a loop.

RFC 5321 section 4.4 has every server put a Received field on top of a message, and the final one a Return-Path. What
a client said of itself stands in it as what it is, a claim: a name where it is one, escaped in a comment where not.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from mailproto.address import Address, address_literal, check_domain, format_path
from mailproto.errors import GrammarError

_FIELD = b"\r\nreceived:"
_NOT_IN_COMMENT = re.compile(r"[^ -'*-\[\]-~]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")


def with_protocol(*, extended: bool, tls: bool, authenticated: bool, lmtp: bool = False, utf8: bool = False) -> str:
    """Return the protocol for the ``with`` clause: ``SMTP``, ``ESMTPSA``, ``UTF8LMTPS`` … (RFC 3848, RFC 6531)."""
    if not (extended or lmtp):
        return "SMTP"
    base = "LMTP" if lmtp else "SMTP" if utf8 else "ESMTP"
    return ("UTF8" if utf8 else "") + base + ("S" if tls else "") + ("A" if authenticated else "")


def received_field(
    *,
    by: str,
    hello: str,
    peer: str,
    protocol: str,
    when: datetime,
    queue_id: str | None = None,
    recipient: Address | None = None,
) -> bytes:
    """Return the Received field for a message, folded, with its CRLF (RFC 5321 section 4.4).

    Args:
        by: the server's own name.
        hello: what the client called itself.
        peer: the client's IP address, or ``""`` for a unix socket.
        protocol: as `with_protocol` returns it.
        when: the time of reception, with its zone.
        queue_id: the server's name for the message.
        recipient: the recipient, if the message has only this one: of several none may see the others.

    Raises:
        GrammarError: ``by`` is no domain, ``queue_id`` no atom, or ``when`` has no zone.
    """
    check_domain(by)
    if when.tzinfo is None:
        raise GrammarError("the time of reception needs its zone")
    lines = [f"Received: {_from_clause(hello, peer)}", f"by {by} with {protocol}"]
    if queue_id is not None:
        if not _ATOM.fullmatch(queue_id):
            raise GrammarError("not a name for a message")
        lines[1] += f" id {queue_id}"
    if recipient is not None:
        lines.append(f"for {format_path(recipient)}")
    return ("\r\n\t".join(lines) + f";\r\n\t{format_datetime(when)}\r\n").encode("utf-8")


def return_path_field(reverse_path: Address | None) -> bytes:
    """Return the Return-Path field that final delivery puts on top of a message (RFC 5321 section 4.4)."""
    return f"Return-Path: {format_path(reverse_path)}\r\n".encode()


def _from_clause(hello: str, peer: str) -> str:
    try:
        check_domain(hello)
        name, claim = hello, ""
    except GrammarError:
        name, claim = "unknown", f"helo={_NOT_IN_COMMENT.sub('?', hello)[:100]} "
    comment = f"{claim}{address_literal(peer) if peer else ''}".rstrip(" ")
    return f"from {name} ({comment})" if comment else f"from {name}"


class HopCounter:
    """Counts the Received fields of a message that streams by, to find one that goes in a circle (section 6.3).

    Only the header section counts; a folded field counts once, and text in the body that looks like one does not.
    """

    __slots__ = ("_limit", "_tail", "hops")

    def __init__(self, limit: int) -> None:
        self.hops = 0
        self._limit = limit
        self._tail: bytes | None = b"\r\n"  # what came last; None behind the header section

    def feed(self, data: bytes) -> int | None:
        """Count in the next piece; return where in it the count passes the limit, None if it does not."""
        if self._tail is None or not data:
            return None
        text = self._tail + data
        offset = len(self._tail)
        end = text.find(b"\r\n\r\n")
        header = (text if end < 0 else text[: end + 2]).lower()
        found = header.find(_FIELD)
        while found >= 0:
            self.hops += 1
            if self.hops > self._limit:
                return found + len(_FIELD) - offset
            found = header.find(_FIELD, found + len(_FIELD))
        self._tail = None if end >= 0 else text[-(len(_FIELD) - 1) :]
        return None
