"""DELIVERBY: a message that is late is returned, or its sender told (RFC 2852).

A server that offers it promises to keep the time (section 4.1), so it is off until the application does.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.extensions.frame import (
    Extension,
    Offered,
    Parameter,
    Settings,
    need_value,
    offer_always,
    parse_number,
)
from mailproto.smtp.reply import Reply

_MAX_SECONDS = 999_999_999
_BY = re.compile(r"([+-]?)([0-9]{1,9});([NR])(T?)", re.ASCII | re.IGNORECASE)


class ByMode(enum.Enum):
    """What becomes of a message when the time is over (RFC 2852 section 4).

    Attributes:
        NOTIFY: tell the sender, and go on trying.
        RETURN: return it.
    """

    NOTIFY = "N"
    RETURN = "R"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """Deliver within so many seconds from now; with `ByMode.NOTIFY` the time may be over already.

    Args:
        seconds: from -999,999,999 to 999,999,999.
        mode: what becomes of the message then.
        trace: have each server on the way report that it has passed the message on.

    Raises:
        GrammarError: not such a time, or not a positive one with `ByMode.RETURN`.
    """

    seconds: int
    mode: ByMode
    trace: bool = False

    def __post_init__(self) -> None:
        if not -_MAX_SECONDS <= self.seconds <= _MAX_SECONDS:
            raise GrammarError("BY takes up to nine digits")
        if self.mode is ByMode.RETURN and self.seconds <= 0:
            raise GrammarError("the time to return a message at is over already")

    def __str__(self) -> str:
        return f"{self.seconds};{self.mode.value}{'T' if self.trace else ''}"


def _parse(text: str | None) -> DeliverBy:
    match = _BY.fullmatch(need_value(text))
    if match is None:
        raise GrammarError("not a by-value")
    seconds = parse_number(match[2], 9)
    return DeliverBy(-seconds if match[1] == "-" else seconds, ByMode(match[3].upper()), bool(match[4]))


def _fit(offered: Offered, by: DeliverBy) -> None:
    """Compare with the server's fixed minimum, which stands before the first comma (RFC 2852 section 2)."""
    try:
        minimum = parse_number(offered.argument.partition(",")[0], 9)
    except GrammarError:
        return
    if by.mode is ByMode.RETURN and by.seconds < minimum:
        raise NotSupportedError(f"the server takes at least {minimum} seconds to deliver, {by.seconds} are wanted")


def deliver_by(minimum: int) -> Extension:
    """Return the extension for a server that needs at least ``minimum`` seconds; it tells clients so.

    A time that is shorter is refused with 555 (RFC 2852 section 4), if the message would have to be returned.

    Raises:
        GrammarError: the minimum is negative, or of more than nine digits.
    """
    refusal = Reply.build(555, f"Cannot deliver in less than {minimum} seconds", "5.5.4")

    def check(_: Settings, by: DeliverBy) -> Reply | None:
        return refusal if by.mode is ByMode.RETURN and by.seconds < minimum else None

    if not 0 <= minimum <= _MAX_SECONDS:
        raise GrammarError("a minimum of up to nine digits")
    by = Parameter("BY", _parse, str, "deliver_by", check=check, fit=_fit)
    return Extension("DELIVERBY", "RFC 2852", lambda _: str(minimum), mail=(by,))


DELIVERBY = Extension(
    "DELIVERBY", "RFC 2852", offer_always, mail=(Parameter("BY", _parse, str, "deliver_by", fit=_fit),)
)
"""Without a minimum; `deliver_by` has one."""
