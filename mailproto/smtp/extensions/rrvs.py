"""RRVS: deliver only if the mailbox has had the same owner since (RFC 7293).

A server that offers it promises to check, or to pass the request on (section 5.1), so it is off until the application
does. A mailbox that changed hands is refused with 550 5.7.17, a domain that did with 5.7.18, and 5.7.19 says that
nobody knows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value, offer_always
from mailproto.smtp.extensions.timestamps import format_timestamp, parse_timestamp


class NoSupport(enum.Enum):
    """What a server does that has to relay to one without this extension (RFC 7293 section 5.1.1)."""

    REJECT = "R"
    CONTINUE = "C"


@dataclass(frozen=True, slots=True)
class RequireRecipientValidSince:
    """The recipient must have had this address since ``since``.

    ``since`` has a time zone; fractions of a second do not count.
    """

    since: datetime
    no_support: NoSupport = NoSupport.REJECT

    def __post_init__(self) -> None:
        format_timestamp(self.since)

    def __str__(self) -> str:
        return format_timestamp(self.since) + (";C" if self.no_support is NoSupport.CONTINUE else "")


def _parse(text: str | None) -> RequireRecipientValidSince:
    since, semicolon, action = need_value(text).partition(";")
    if "." in since:
        raise GrammarError("a fraction of a second in RRVS")
    try:
        no_support = NoSupport(action.upper() if action.isascii() else "") if semicolon else NoSupport.REJECT
    except ValueError:
        raise GrammarError("not a no-support action") from None
    return RequireRecipientValidSince(parse_timestamp(since), no_support)


RRVS = Extension("RRVS", "RFC 7293", offer_always, rcpt=(Parameter("RRVS", _parse, str, "rrvs"),))
