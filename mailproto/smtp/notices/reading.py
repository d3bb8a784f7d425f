"""What a notice says of a message that was sent: a report of delivery status (RFC 3464, RFC 6533), read.

Real ones lack fields, have types of their own and comments in odd places, so that whatever one says may be missing
here, and what it has too much of is passed over. Who writes them is `mailproto.smtp.notices.making`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from mailproto._core.codec import TURNING, UNSAFE, encode_xtext
from mailproto.errors import GrammarError
from mailproto.smtp.extensions.dsn import OriginalRecipient, decode_unitext
from mailproto.smtp.notices.making import Action
from mailproto.smtp.reply import EnhancedStatus

_RECIPIENT_FIELDS = ("original-recipient", "final-recipient")
_MAX_DATE = 200  # characters

_FIELD = re.compile(r"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+")
_STATUS = re.compile(r"(?<![0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")
_UNPRINTABLE = re.compile(f"[{UNSAFE}{TURNING}]")


class Typed(NamedTuple):
    """A name or a text, and what kind of one it is, in lower case; ``""`` if nobody says (RFC 3464 section 2.1.2).

    As text it is what the notice has: ``smtp; 550 5.1.1 no such user``.
    """

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}; {self.value}" if self.kind else self.value


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What a notice says of one recipient (RFC 3464 section 2.3). What it does not say is None.

    Args:
        original_recipient: whom the sender meant, if he told with ORCPT, or the server knows otherwise. It ought to
            be decoded, and not every server does that; see `is_about`.
        final_recipient: whom the server tried. The type of an address is in lower case, and ``unknown`` if nobody
            says.
        action: what was done.
        status: how it went.
        diagnostic: what the server named in ``remote_mta`` has said, or without one the server that reports; of the
            kind ``smtp`` it is a reply. Lines are joined.
        remote_mta: the server that said so.
        last_attempt: when it was tried last.
        retry_until: when it will be given up.
    """

    original_recipient: OriginalRecipient | None = None
    final_recipient: OriginalRecipient | None = None
    action: Action | None = None
    status: EnhancedStatus | None = None
    diagnostic: Typed | None = None
    remote_mta: Typed | None = None
    last_attempt: datetime | None = None
    retry_until: datetime | None = None

    @property
    def address(self) -> str | None:
        """The address that the sender knows, as far as the notice does: the original one, or else the final one."""
        known = self.original_recipient or self.final_recipient
        return known.address if known is not None else None

    def is_about(self, address: str) -> bool:
        """Say whether it names this recipient, as RCPT or its ORCPT named him; upper and lower case matter."""
        original, final = self.original_recipient, self.final_recipient
        known = original is not None and original.address in _forms(address)
        return known or (final is not None and final.address == address)

    @property
    def failed(self) -> bool:
        """Whether it is given up: so says the action, or where there is none a status of class 5."""
        if self.action is None:
            return self.status is not None and self.status.status_class == 5
        return self.action is Action.FAILED


@dataclass(frozen=True, slots=True)
class ReceivedNotice:
    """What a notice says of a message (RFC 3464 section 2.2). What it does not say is None.

    Args:
        recipients: those of whom it tells; there is one at least.
        reporting_mta: the server that tried to deliver the message.
        envelope_id: the ENVID of the message. It ought to be decoded (RFC 3461 section 6.3), and not every server
            does that; see `is_about`.
        arrival: when the message came to that server.
        returned: the octets of the message that came back, or of its header.
        returned_whole: whether that is the message, and not its header alone.
        message_id: its Message-ID, with the angle brackets.
    """

    recipients: tuple[ReportedRecipient, ...]
    reporting_mta: Typed | None = None
    envelope_id: str | None = None
    arrival: datetime | None = None
    returned: bytes | None = field(default=None, repr=False)
    returned_whole: bool = False
    message_id: str | None = None

    @property
    def failed(self) -> tuple[ReportedRecipient, ...]:
        """The recipients for whom the message was given up."""
        return tuple(recipient for recipient in self.recipients if recipient.failed)

    def is_about(self, envelope_id: str) -> bool:
        """Say whether it names this envelope id, decoded or as it stood in MAIL.

        That is no proof, unless nobody else can know or guess the id.
        """
        return self.envelope_id in _forms(envelope_id)


def parse_notice(message: bytes | bytearray | memoryview | Message[Any, Any]) -> ReceivedNotice:
    """Return what a notice of delivery status says: octets, or an ``email`` message.

    Nothing that it says is proof of anything. A notice has no signature, comes from the null reverse-path, and
    everybody can write one about whomever he likes: whoever takes recipients off a list because of it lets strangers
    do that. What ties it to a message that was sent is what only its servers have seen: an address of its own for
    every message, to which the notice came (VERP), or an envelope id that cannot be guessed (RFC 3461 section 4.4),
    see `ReceivedNotice.is_about`. A Message-ID has been read by all recipients.

    Raises:
        GrammarError: it is no notice, or it is beyond all bounds.
        TypeError: it is neither octets nor a message.
    """
    if not isinstance(message, bytes | bytearray | memoryview | Message):
        raise TypeError(f"a notice is octets or an email message, not {type(message).__name__}")
    from mailproto.smtp.notices.report_parts import (
        take_apart,  # slow to load, for the parsers of the standard library
    )

    parts = take_apart(message)
    groups = list(_groups(parts.status))
    recipients = tuple(_recipient(group) for group in groups if _names_recipient(group))
    if not recipients:
        raise GrammarError("a report about nobody")
    about = groups[0]
    return ReceivedNotice(
        recipients,
        _name(about.get("reporting-mta")),
        about.get("original-envelope-id"),
        _date(about.get("arrival-date")),
        parts.returned,
        parts.returned_whole,
        parts.message_id,
    )


def _forms(text: str) -> tuple[str, str]:
    """Return what was said in MAIL or RCPT, decoded as it ought to come back, and in xtext, as it does from some."""
    return text, encode_xtext(text.encode("utf-8", "replace")).decode("ascii")


def _groups(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each group, by their names in lower case; the first one tells of the message as a whole.

    Some servers forget the blank line in front of a recipient.
    """
    fields: dict[str, list[str]] = {}
    lines: list[str] = []  # of the field that may go on
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FIELD.fullmatch(line)
        name = match[1].lower() if match is not None else ""
        if line.startswith((" ", "\t")):
            lines.append(line)
            continue
        if fields and (not line or (name in fields and name in _RECIPIENT_FIELDS)):
            yield _joined(fields)
            fields = {}
        lines = [match[2]] if match is not None else []
        if name and name not in fields:
            fields[name] = lines
    if fields:
        yield _joined(fields)


def _joined(fields: Mapping[str, list[str]]) -> dict[str, str]:
    """Unfold the fields, and make them harmless where they are shown."""
    return {name: _harmless(" ".join(line.strip(" \t") for line in lines)) for name, lines in fields.items()}


def _harmless(text: str) -> str:
    return _UNPRINTABLE.sub(lambda c: ascii(c[0])[1:-1], text.replace("\t", " ").strip(" "))


def _names_recipient(group: Mapping[str, str]) -> bool:
    return any(name in group for name in (*_RECIPIENT_FIELDS, "action"))


def _recipient(group: Mapping[str, str]) -> ReportedRecipient:
    return ReportedRecipient(
        _address(group.get("original-recipient")),
        _address(group.get("final-recipient")),
        _action(group.get("action", "")),
        _status(group.get("status", "")),
        _typed(group.get("diagnostic-code")),
        _name(group.get("remote-mta")),
        _date(group.get("last-attempt-date")),
        _date(group.get("will-retry-until")),
    )


def _typed(text: str | None) -> Typed | None:
    kind, semicolon, value = (text or "").partition(";")
    if semicolon and _TYPE.fullmatch(kind.rstrip(" ")):
        return Typed(kind.rstrip(" ").lower(), value.lstrip(" "))
    return Typed("", text) if text else None


def _name(text: str | None) -> Typed | None:
    typed = _typed(text)
    return typed._replace(value=_without_comment(typed.value)) if typed is not None else None


def _address(text: str | None) -> OriginalRecipient | None:
    """Return an address in whatever form it stands there; None if there is none."""
    typed = _name(text)
    address = typed.value if typed is not None else ""
    if address.startswith("<") and address.endswith(">"):
        address = address[1:-1]
    if typed is None or not address:
        return None
    if typed.kind == "utf-8" or not address.isascii():
        with suppress(GrammarError):
            return OriginalRecipient("utf-8", decode_unitext(address))
        return OriginalRecipient("utf-8", address)
    return OriginalRecipient(typed.kind or "unknown", address)


def _action(text: str) -> Action | None:
    word = _without_comment(text).lower()
    return Action(word) if word in {action.value for action in Action} else None


def _status(text: str) -> EnhancedStatus | None:
    match = _STATUS.search(text)
    return EnhancedStatus(*map(int, match.groups())) if match is not None else None


def _date(text: str | None) -> datetime | None:
    """Return a time with its zone; without one it is taken for UTC."""
    if text is None or len(text) > _MAX_DATE:
        return None
    try:
        when = parsedate_to_datetime(text)
    except Exception:  # of which there are several kinds, for days and numbers that are none
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _without_comment(text: str) -> str:
    """Return what stands before a comment at the end (RFC 3464 section 2.1.1)."""
    return text.partition(" (")[0].rstrip(" ") if text.endswith(")") else text
