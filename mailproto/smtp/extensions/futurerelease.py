"""FUTURERELEASE: the server keeps a submitted message until its time has come (RFC 4865).

For submission only (section 4.2), and off until the application holds messages back; `future_release` says how long
it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.extensions.frame import (
    Extension,
    Offered,
    Parameter,
    Settings,
    Standing,
    need_value,
    parse_number,
)
from mailproto.smtp.extensions.timestamps import format_timestamp, parse_timestamp
from mailproto.smtp.reply import Reply

_MAX_SECONDS = 999_999_999
_TOO_FAR = Reply.build(501, "Cannot hold a message so long", "5.5.4")


@dataclass(frozen=True, slots=True)
class HoldFor:
    """Release the message so many seconds from now, from 1 to 999,999,999."""

    seconds: int

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= _MAX_SECONDS:
            raise GrammarError("HOLDFOR takes from 1 to 999999999 seconds")

    def __str__(self) -> str:
        return str(self.seconds)


@dataclass(frozen=True, slots=True)
class HoldUntil:
    """Release the message at this moment, which has a time zone; fractions of a second do not count."""

    moment: datetime

    def __post_init__(self) -> None:
        format_timestamp(self.moment)

    def __str__(self) -> str:
        return format_timestamp(self.moment)


def _seconds(digits: str) -> int:
    if digits.startswith("0"):
        raise GrammarError("a future-release-integer does not begin with 0")
    return parse_number(digits, 9)


def _parse_for(text: str | None) -> HoldFor:
    return HoldFor(_seconds(need_value(text)))


def _parse_until(text: str | None) -> HoldUntil:
    return HoldUntil(parse_timestamp(need_value(text)))


def _announced(offered: Offered) -> tuple[int, datetime] | None:
    """Return how long the server holds messages, None if it does not say it as it should."""
    interval, _, moment = offered.argument.partition(" ")
    try:
        return _seconds(interval), parse_timestamp(moment)
    except GrammarError:
        return None


def _fit_for(offered: Offered, hold: HoldFor) -> None:
    announced = _announced(offered)
    if announced is not None and hold.seconds > announced[0]:
        raise NotSupportedError(f"the server holds messages for up to {announced[0]} seconds")


def _fit_until(offered: Offered, hold: HoldUntil) -> None:
    announced = _announced(offered)
    if announced is not None and hold.moment > announced[1]:
        raise NotSupportedError(f"the server holds messages until {announced[1]}")


def _hold_for(check: Callable[[Settings, HoldFor], Reply | None] | None = None) -> Parameter:
    return Parameter("HOLDFOR", _parse_for, str, "hold", HoldFor, check=check, fit=_fit_for)


def _hold_until(check: Callable[[Settings, HoldUntil], Reply | None] | None = None) -> Parameter:
    return Parameter("HOLDUNTIL", _parse_until, str, "hold", HoldUntil, check=check, fit=_fit_until)


def future_release(max_interval: int, max_moment: Callable[[], datetime]) -> Extension:
    """Return the extension for a server that holds messages; what is beyond its limits it refuses with 501.

    Args:
        max_interval: for how many seconds it does at most.
        max_moment: returns until when it does at most. Called for each EHLO and each HOLDUNTIL, because such a
            moment moves with the clock, and there is none in here.
    """
    HoldFor(max_interval)

    def offer(_: Standing) -> str:
        return f"{max_interval} {format_timestamp(max_moment())}"

    def check_for(_: Settings, hold: HoldFor) -> Reply | None:
        return _TOO_FAR if hold.seconds > max_interval else None

    def check_until(_: Settings, hold: HoldUntil) -> Reply | None:
        return _TOO_FAR if hold.moment > max_moment() else None

    return Extension("FUTURERELEASE", "RFC 4865", offer, mail=(_hold_for(check_for), _hold_until(check_until)))


def _offer_never(_: Standing) -> None:
    """A server that offers it has to say how long it holds messages (RFC 4865 section 4.2), so: `future_release`."""


FUTURERELEASE = Extension(
    "FUTURERELEASE",
    "RFC 4865",
    _offer_never,
    mail=(_hold_for(), _hold_until()),
)
"""For clients; a server's is made by `future_release`."""
