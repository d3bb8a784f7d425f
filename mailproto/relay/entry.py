"""What a queue keeps of a message beside its content: the envelope, and what is still to be done for whom.

On disk it is JSON around the words of SMTP: paths and parameters stand there as in MAIL and RCPT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailproto.address import Address, format_path, parse_path
from mailproto.errors import GrammarError
from mailproto.smtp.extensions import DSN, EIGHT_BIT_MIME, SMTPUTF8, mail_parameters, rcpt_parameters
from mailproto.smtp.notices import Action, Report
from mailproto.smtp.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    MailParameters,
    Parameter,
    RcptParameters,
    collect,
    format_parameters,
    split_parameters,
)
from mailproto.smtp.reply import EnhancedStatus, Reply

MAX_NAME = 40  # characters; notices have the names of their entries for an id
_NAME = re.compile(rf"(?=.{{1,{MAX_NAME}}}\Z)[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*")

_NO_WORD = Reply.build(451, "Nothing was said", "4.0.0")

_MAIL = mail_parameters((EIGHT_BIT_MIME, SMTPUTF8, DSN))
_RCPT = rcpt_parameters((DSN,))


@dataclass(frozen=True, slots=True)
class Pending:
    """A recipient for whom something is still to be done.

    Args:
        address: the recipient.
        parameters: what the sender said of him in RCPT.
        action: what was done, which the sender is to be told; None as long as the message is to be sent to him.
        reply: what was said last; a temporary reply as long as it is to be sent.
        remote_mta: the name of the host that said so; None if nobody but this one did.
    """

    address: Address
    parameters: RcptParameters = NO_RCPT_PARAMETERS
    action: Action | None = None
    reply: Reply | None = None
    remote_mta: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in a queue. Times are seconds of the Unix clock.

    Args:
        name: its name in the queue, of at most 40 letters and digits, with dots between them.
        reverse_path: the sender; None is the null reverse-path.
        recipients: those for whom something is still to be done, each once.
        arrival: when it came.
        due: when it is to be tried next.
        parameters: what the sender said in MAIL.
        late: whether the sender was told that it is late.
        notices: how many notices there were about it.
        attempts: how often it was tried in vain, for some of its recipients at least.
        size: the octets of its message, which the queue counts; None if it has not.

    Raises:
        GrammarError: it came before there was such a clock, or a count is negative.
    """

    name: str
    reverse_path: Address | None
    recipients: tuple[Pending, ...]
    arrival: float
    due: float
    parameters: MailParameters = NO_MAIL_PARAMETERS
    late: bool = False
    notices: int = 0
    size: int | None = None
    attempts: int = 0

    def __post_init__(self) -> None:
        if not self.arrival >= 0 or min(self.notices, self.attempts) < 0:  # nor NaN, which no notice has a date for
            raise GrammarError(f"an entry without a time of arrival, or a negative count: {self.name!a:.100}")

    @property
    def waiting(self) -> tuple[Pending, ...]:
        """The recipients to whom it is to be sent."""
        return tuple(recipient for recipient in self.recipients if recipient.action is None)

    def changed(self, changes: Mapping[Address, Pending | None]) -> Entry:
        """Return the entry with these recipients changed, or gone where nothing is to be done any more."""
        recipients = (changes.get(recipient.address, recipient) for recipient in self.recipients)
        return replace(self, recipients=tuple(recipient for recipient in recipients if recipient is not None))


def is_name(name: str) -> bool:
    """Say whether this may be the name of an entry."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise `GrammarError` unless this may be the name of an entry."""
    if not is_name(name):
        raise GrammarError(f"the name of an entry is of letters, digits and dots, {MAX_NAME} at most: {name!a:.100}")


def encode_entry(entry: Entry) -> bytes:
    """Return the entry as it is on disk; its name is that of the file.

    Raises:
        GrammarError, NotSupportedError: it has parameters that a relay has no way to honour.
    """
    return json.dumps(
        {
            "mail": format_path(entry.reverse_path) + format_parameters(_MAIL, entry.parameters),
            "arrival": entry.arrival,
            "due": entry.due,
            "late": entry.late,
            "notices": entry.notices,
            "size": entry.size,
            "attempts": entry.attempts,
            "recipients": [_encode_pending(recipient) for recipient in entry.recipients],
        },
        indent=1,
    ).encode()


def decode_entry(name: str, data: bytes) -> Entry:
    """Return the entry that `encode_entry` has written.

    Raises:
        GrammarError: it has not.
    """
    try:
        read = json.loads(data)
        path = parse_path(read["mail"], null=True)
        if not read["recipients"]:
            raise GrammarError(f"an entry for nobody, which would never end: {name}")
        return Entry(
            name,
            path.address,
            tuple(_decode_pending(recipient) for recipient in read["recipients"]),
            float(read["arrival"]),
            float(read["due"]),
            MailParameters(**_decode_parameters(_MAIL, path.rest)),
            bool(read["late"]),
            int(read["notices"]),
            int(read["size"]) if read.get("size") is not None else None,
            int(read.get("attempts", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise GrammarError(f"not an entry of a queue: {name}") from error


def _encode_pending(recipient: Pending) -> dict[str, Any]:
    return {
        "rcpt": format_path(recipient.address) + format_parameters(_RCPT, recipient.parameters),
        "action": recipient.action and recipient.action.value,
        "reply": recipient.reply and [recipient.reply.code, recipient.reply.text, recipient.reply.enhanced],
        "remote": recipient.remote_mta,
    }


def _decode_pending(read: Mapping[str, Any]) -> Pending:
    path = parse_path(read["rcpt"])
    if path.address is None:
        raise GrammarError("a recipient without an address")
    parameters = RcptParameters(**_decode_parameters(_RCPT, path.rest))
    action = Action(read["action"]) if read["action"] is not None else None
    reply = _decode_reply(*read["reply"]) if read["reply"] is not None else None
    if action is not None:
        Report(path.address, action, reply or _NO_WORD)  # which is what the sender is to get, and can be written
    return Pending(path.address, parameters, action, reply, read["remote"])


def _decode_parameters(known: Mapping[str, Parameter], text: str) -> dict[str, Any]:
    found = split_parameters(text, len(known))
    if not found.keys() <= known.keys():
        raise GrammarError("a parameter that no relay has written")
    return collect(known, found)


def _decode_reply(code: int, text: str, enhanced: list[int] | None) -> Reply:
    return Reply.build(code, text, EnhancedStatus(*enhanced) if enhanced is not None else None)
