"""Trace information: the header fields that show a message's way, and the count that ends a loop.

RFC 5321 section 4.4 has every server put a Received field on top of a message, and the final one a Return-Path. What
a client said of itself stands in it as what it is, a claim: a name where it is one, escaped in a comment where not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import format_datetime

from mailproto.address import Address, address_literal, check_domain, format_path
from mailproto.errors import GrammarError
from mailproto.smtp.messages.header import read_header

__all__ = ["HopCounter", "received_field", "return_path_field", "with_protocol", "with_return_path"]

_NAME = b"\r\nreceived"
# With the spaces that RFC 5322 section 4.5.8 knows from old messages.
_FIELD = re.compile(rb"\r\nreceived[ \t]*:", re.IGNORECASE)
_NOT_IN_COMMENT = re.compile(r"[^ -'*-\[\]-~]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_RETURN_PATH = re.compile(rb"\r\nreturn-path[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*", re.IGNORECASE)


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
    cipher: str | None = None,
) -> bytes:
    """Return the Received field for a message, folded, with its CRLF (RFC 5321 section 4.4).

    Args:
        by: the server's own name.
        hello: what the client called itself.
        peer: the client's IP address; anything else, such as ``""`` for a unix socket, is left out.
        protocol: as `with_protocol` returns it.
        when: the time of reception, with its zone.
        queue_id: the server's name for the message.
        recipient: the recipient, if the message has only this one: of several none may see the others.
        cipher: the cipher suite of TLS, for a ``tls`` clause (RFC 8314 section 4.3).

    Raises:
        GrammarError: ``by`` is no domain, ``when`` has no zone, or something else is no atom. Nor may anything but
            ASCII stand there, unless the protocol is one of those for UTF-8 (RFC 6531 section 3.7.3).
    """
    utf8 = protocol.startswith("UTF8")
    check_domain(by)
    if when.tzinfo is None:
        raise GrammarError("the time of reception needs its zone")
    for atom in (protocol, queue_id, cipher):
        if atom is not None and not _ATOM.fullmatch(atom):
            raise GrammarError("not an atom in a Received field")
    lines = [f"Received: {_from_clause(hello, peer, utf8)}", f"by {by} with {protocol}"]
    if queue_id is not None:
        lines[1] += f" id {queue_id}"
    if recipient is not None:
        lines.append(f"for {format_path(recipient)}")
    if cipher is not None:
        lines.append(f"tls {cipher}")
    if not utf8 and not "".join(lines).isascii():
        raise GrammarError("only for a message with SMTPUTF8 may a Received field have UTF-8")
    return ("\r\n\t".join(lines) + f";\r\n\t{format_datetime(when)}\r\n").encode("utf-8")


def return_path_field(reverse_path: Address | None) -> bytes:
    """Return the Return-Path field that final delivery puts on top of a message (RFC 5321 section 4.4)."""
    return f"Return-Path: {format_path(reverse_path)}\r\n".encode()


def with_return_path(reverse_path: Address | None, message: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message as final delivery keeps it: with one Return-Path, ours, and none that it came with.

    Those are taken out of a header section of up to 1 MiB; what lies beyond stays as it is.
    """
    yield return_path_field(reverse_path)
    pieces = iter(message)
    header, rest = read_header(pieces)
    yield _RETURN_PATH.sub(b"", b"\r\n" + header)[2:] + rest
    yield from pieces


def _from_clause(hello: str, peer: str, utf8: bool) -> str:
    literal = _literal(peer)
    if _is_name(hello, utf8):
        return f"from {hello} ({literal})" if literal else f"from {hello}"
    claim = f"helo={_NOT_IN_COMMENT.sub('?', hello)[:100]}"
    return f"from unknown ({claim} {literal})" if literal else f"from unknown ({claim})"


def _is_name(hello: str, utf8: bool) -> bool:
    try:
        check_domain(hello)
    except GrammarError:
        return False
    return utf8 or hello.isascii()


def _literal(peer: str) -> str:
    try:
        return address_literal(peer)
    except GrammarError:
        return ""


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
        if self._tail is None:
            return None
        text = self._tail + data
        end = text.find(b"\r\n\r\n")
        if end < 0:
            end, self._tail = len(text), _unfinished(text)
        else:
            self._tail = None
        self.hops += len(_FIELD.findall(text, 0, end))
        if self.hops <= self._limit:
            return None
        ends = [field.end() for field in _FIELD.finditer(text, 0, end)]
        return ends[self._limit - self.hops] - (len(text) - len(data))  # counted from the last of them


def _unfinished(header: bytes) -> bytes:
    """Return the end of a header section that goes on: what a Received field may have begun with, spaces made one."""
    beginning = header.rstrip(b" \t")[-len(_NAME) :].lower()
    return _NAME + b" " if beginning == _NAME else header[-len(_NAME) :]
