"""Points in time as parameters have them: the date-time of RFC 3339 section 5.6."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import parse_number

_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):([0-5]\d))",
    re.ASCII | re.IGNORECASE,
)


def parse_timestamp(text: str) -> datetime:
    """Return the point in time, in UTC.

    Raises:
        GrammarError: not a date-time, or one that no calendar has.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise GrammarError("not a date-time of RFC 3339")
    year, month, day, hour, minute, second = map(parse_number, match.groups()[:6])
    leap = second == 60  # a leap second, which datetime does not know
    offset = timedelta(hours=parse_number(match[9] or "0"), minutes=parse_number(match[10] or "0"))
    microsecond = parse_number((match[7] or "0").ljust(6, "0")[:6])
    try:
        zone = timezone(-offset if match[8] == "-" else offset)
        moment = datetime(year, month, day, hour, minute, second - leap, microsecond, zone)
        return moment.astimezone(UTC) + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        raise GrammarError("no such date or time") from None


def format_timestamp(moment: datetime) -> str:
    """Return the point in time in UTC, to the second: fractions of it are dropped.

    Raises:
        GrammarError: the moment has no time zone, so nobody elsewhere can know when it is.
    """
    if moment.tzinfo is None:
        raise GrammarError("a moment without a time zone")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise GrammarError("no such date or time") from None
    return utc.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
