"""Notices to a sender of what became of his message: delivery status notifications (RFC 3461 section 6, RFC 3464).

A notice is for what was accepted and then could not be delivered. What a server can refuse in the session it better
does: senders are easily forged, and their owners want no news of mail that they never wrote.

This module knows who is told what, and when nobody is; how a notice is written is the business of
`mailproto.smtp.notices.multireport`, and what one that came says is that of `mailproto.smtp.notices.reading`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from mailproto.address import Address, check_domain, format_path
from mailproto.errors import GrammarError
from mailproto.smtp.extensions.basic import Body
from mailproto.smtp.extensions.dsn import Notify, Ret
from mailproto.smtp.notices.multireport import ReportWriter
from mailproto.smtp.parameters import NO_MAIL_PARAMETERS, NO_RCPT_PARAMETERS, MailParameters, RcptParameters
from mailproto.smtp.reply import EnhancedStatus, Reply

__all__ = ["Action", "Notice", "Report", "is_automatic", "make_notice"]

_MAX_RETURNED = 50_000  # octets
_MAX_REPLY, _MAX_REPLY_LINES = 1000, 20  # characters, and lines, of a reply that are quoted

_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,38}[A-Za-z0-9])?")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_WORD = re.compile(rb"[ \t]*([A-Za-z-]*)")


class Action(enum.Enum):
    """What was done about one recipient (RFC 3464 section 2.3.3).

    Attributes:
        FAILED: it is given up.
        DELAYED: it did not work yet, and is tried again.
        DELIVERED: it is in the mailbox.
        RELAYED: it was handed to a server that will send no notice when it is in the mailbox.
        EXPANDED: it went on to the members of an alias.
    """

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_CONDITIONS = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY}
_CLASSES = {Action.FAILED: (4, 5), Action.DELAYED: (4,)}
_HEADLINES = {  # the gravest first: the subject, and what stands above the recipients
    Action.FAILED: ("Undelivered mail", "Your message could not be delivered, and will not be tried again, to:"),
    Action.DELAYED: ("Delayed mail", "Your message is late. It will be tried again, by itself, to:"),
    Action.DELIVERED: ("Delivered mail", "Your message was delivered to:"),
    Action.RELAYED: ("Relayed mail", "Your message was handed on, to where no notice of delivery comes from, to:"),
    Action.EXPANDED: ("Delivered mail", "Your message was delivered, and went on to the members of:"),
}
_NEVER = RcptParameters(notify=frozenset({Notify.NEVER}))


@dataclass(frozen=True, slots=True)
class Report:
    """What a notice tells of one recipient (RFC 3464 section 2.3).

    Args:
        address: the recipient as he was given to us.
        action: what was done.
        reply: the reply that decided: of the server named in ``remote_mta``, or without one, our own verdict.
        remote_mta: the name of the server that said so.
        parameters: what the sender said of this recipient in RCPT, NOTIFY and ORCPT above all.
        last_attempt: when it was tried last, with its zone.
        retry_until: when it will be given up, with its zone; only if it is delayed.

    Raises:
        GrammarError: the class of the reply does not go with the action.
    """

    address: Address
    action: Action
    reply: Reply
    remote_mta: str | None = None
    parameters: RcptParameters = NO_RCPT_PARAMETERS
    last_attempt: datetime | None = None
    retry_until: datetime | None = None

    def __post_init__(self) -> None:
        if self.reply.code // 100 not in _CLASSES.get(self.action, (2,)):
            raise GrammarError(f"{self.reply.code} is no reply of something {self.action.value}")

    @property
    def wanted(self) -> bool:
        """Whether the sender is to be told (RFC 3461 sections 5.2.2 to 5.2.6); unasked only of what went wrong."""
        notify = self.parameters.notify
        if notify is None:
            return self.action in _CONDITIONS
        return _CONDITIONS.get(self.action, Notify.SUCCESS) in notify

    @property
    def status(self) -> EnhancedStatus:
        """The status code: the reply's, or the one of its class that says nothing more (RFC 3461 section 6.3)."""
        return self.reply.enhanced or EnhancedStatus(self.reply.code // 100, 0, 0)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice, to be sent with the null reverse-path to ``address`` (RFC 3461 section 6.1).

    ``parameters`` and ``rcpt_parameters`` are for its MAIL and its RCPT.
    """

    address: Address
    content: bytes = field(repr=False)
    parameters: MailParameters
    rcpt_parameters: RcptParameters = _NEVER


def make_notice(
    reports: Iterable[Report],
    *,
    reverse_path: Address | None,
    message: Iterable[bytes],
    hostname: str,
    when: datetime,
    notice_id: str,
    parameters: MailParameters = NO_MAIL_PARAMETERS,
    arrival: datetime | None = None,
    max_returned: int = _MAX_RETURNED,
    to_automatic_mail: bool = False,
) -> Notice | None:
    """Return the notice to the sender of ``message``, or None if he is to get none.

    There is none for a message with the null reverse-path, which is what keeps notices from answering notices, nor
    about recipients of whom the sender does not want to hear.

    Args:
        reports: what became of the recipients; those not `Report.wanted` are left out.
        reverse_path: the sender.
        message: the message in pieces, which are read as far as they can be returned.
        hostname: the name of this server, in ASCII; its postmaster is whom the notice is from.
        when: the time of the notice, with its zone.
        notice_id: a name for it that no other one from this host has, of at most 40 letters, digits, dots and
            hyphens.
        parameters: what the sender said of the message in MAIL: ENVID, RET, and whether it is SMTPUTF8.
        arrival: when the message came, with its zone.
        max_returned: octets of the message that are returned at most. More than its header is returned only when
            the sender wants that (RET=FULL) and something failed, and if all of it fits.
        to_automatic_mail: answer also what says that a program or a mailing list sent it, so that nobody might read
            the answer. A server that knows its clients should: lists learn so which members are gone
            (RFC 3461 section 5.2.6). One that takes mail from strangers better does not.

    Raises:
        GrammarError: ``hostname`` is no domain in ASCII, ``notice_id`` is none, or a time has no zone.
    """
    told = [report for report in reports if report.wanted]
    header, whole = _read(message, max_returned)
    if reverse_path is None or not told or (is_automatic(header) and not to_automatic_mail):
        return None
    check_domain(hostname)
    if not hostname.isascii() or not _ID.fullmatch(notice_id):
        raise GrammarError("a notice needs a host name in ASCII, and an id of letters, digits, dots and hyphens")
    writer = ReportWriter(utf8=_needs_utf8(told, parameters), eight_bit=not reverse_path.is_ascii)
    parts = [
        writer.text(_explanation(told, hostname)),
        writer.status([_message_fields(hostname, parameters, arrival), *map(_recipient_fields, told)]),
        writer.original(header, whole if _returns_all(told, parameters) else None),
    ]
    head = [
        f"From: Mail Delivery System <postmaster@{hostname}>",
        f"To: {format_path(reverse_path)}",
        f"Subject: {next(subject for action, (subject, _) in _HEADLINES.items() if _some(told, action))}",
        f"Date: {_date(when)}",
        f"Message-ID: <{notice_id}@{hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5
        "MIME-Version: 1.0",
    ]
    content = "\r\n".join(head).encode() + b"\r\n" + writer.multipart(parts, notice_id)
    body = None if content.isascii() else Body.EIGHT_BIT_MIME
    return Notice(reverse_path, content, MailParameters(body=body, smtputf8=not reverse_path.is_ascii))


def is_automatic(header: bytes) -> bool:
    """Say whether this is the header of a message that a program or a mailing list sent (RFC 3834 sections 2, 5)."""
    for line in _FOLD.sub(b"", header).split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        word = _WORD.match(value)
        first = word[1].lower() if word else b""
        if name == b"auto-submitted" and first != b"no":
            return True
        if name == b"precedence" and first in (b"bulk", b"junk", b"list"):
            return True
        if name.startswith(b"list-"):
            return True
    return False


def _message_fields(hostname: str, parameters: MailParameters, arrival: datetime | None) -> list[tuple[str, str]]:
    """Return the fields about the message as a whole (RFC 3464 section 2.2)."""
    fields = [("Original-Envelope-Id", parameters.envid)] if parameters.envid is not None else []
    fields.append(("Reporting-MTA", f"dns; {hostname}"))
    if arrival is not None:
        fields.append(("Arrival-Date", _date(arrival)))
    return fields


def _recipient_fields(report: Report) -> list[tuple[str, str]]:
    """Return the fields about one recipient, in the order of RFC 3464 section 2.3."""
    kind = "rfc822" if report.address.is_ascii else "utf-8"
    fields = [
        ("Final-Recipient", f"{kind}; {report.address}"),
        ("Action", report.action.value),
        ("Status", str(report.status)),
    ]
    if report.parameters.orcpt is not None:
        fields.insert(0, ("Original-Recipient", str(report.parameters.orcpt)))
    if report.remote_mta is not None:
        fields.append(("Remote-MTA", f"dns; {report.remote_mta}"))
    fields.append(("Diagnostic-Code", "smtp; " + "\n".join(_transcript(report.reply))))
    if report.last_attempt is not None:
        fields.append(("Last-Attempt-Date", _date(report.last_attempt)))
    if report.retry_until is not None and report.action is Action.DELAYED:
        fields.append(("Will-Retry-Until", _date(report.retry_until)))
    return fields


def _transcript(reply: Reply) -> Iterator[str]:
    """Yield the lines of a reply as they came (RFC 3461 section 9.2), if there is an end to them."""
    status = f"{reply.enhanced} " if reply.enhanced else ""
    lines = reply.text[:_MAX_REPLY].split("\n")[:_MAX_REPLY_LINES]
    for index, line in enumerate(lines):
        yield f"{reply.code}{' ' if index == len(lines) - 1 else '-'}{status}{line}"


def _explanation(reports: Sequence[Report], hostname: str) -> Iterator[str]:
    """Yield the lines of the part for people."""
    yield f"This is the mail system at {hostname}."
    for action, (_, headline) in _HEADLINES.items():
        if _some(reports, action):
            yield from ("", headline)
        for report in reports:
            if report.action is action:
                speaker = f"{report.remote_mta} said" if report.remote_mta is not None else "This system says"
                yield from ("", f"  {format_path(report.address)}", f"    {speaker}:")
                yield from (f"    {line}" for line in _transcript(report.reply))


def _returns_all(reports: Iterable[Report], parameters: MailParameters) -> bool:
    """Say whether the notice is to return more than the header (RFC 3461 section 6.2)."""
    return parameters.ret is Ret.FULL and parameters.body is not Body.BINARY_MIME and _some(reports, Action.FAILED)


def _read(message: Iterable[bytes], limit: int) -> tuple[bytes, bytes | None]:
    """Return the header of a message, of at most so many octets, and all of the message if that is not longer."""
    begun = bytearray()
    for piece in message:
        begun += piece[: limit + 1]
        if len(begun) > limit:
            break
    end = (b"\r\n" + begun).find(b"\r\n\r\n", 0, limit)  # where the blank line is, if there is one
    header = bytes(begun[: end if end >= 0 else begun.rfind(b"\n", 0, limit) + 1])
    return header, bytes(begun) if len(begun) <= limit else None


def _needs_utf8(reports: Iterable[Report], parameters: MailParameters) -> bool:
    """Say whether the message was one of SMTPUTF8, or an address in the notice is not ASCII."""
    if parameters.smtputf8:
        return True
    originals = (report.parameters.orcpt for report in reports)
    return any(not str(each).isascii() for each in (*(report.address for report in reports), *originals))


def _some(reports: Iterable[Report], action: Action) -> bool:
    return any(report.action is action for report in reports)


def _date(when: datetime) -> str:
    if when.tzinfo is None:
        raise GrammarError("a time in a notice needs its zone")
    return format_datetime(when)
