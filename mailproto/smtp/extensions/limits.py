"""LIMITS: a server says beforehand how much it takes (RFC 9422).

Always honest, because what is announced is what `mailproto.Limits` has the connection keep; so it is on by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailproto.smtp.extensions.frame import Extension, Standing, parse_number

_MAX_VALUE = 999_999  # a limit has six digits, RFC 9422 section 4
_WORD = re.compile(r"([A-Za-z0-9_-]+)(?:=([!-:<-~]+))?")
_VALUE = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes, None where it does not say.

    Args:
        mail_max: MAIL commands on one connection.
        rcpt_max: RCPT commands in one transaction.
        rcpt_domain_max: different domains of recipients on one connection.
    """

    mail_max: int | None = None
    rcpt_max: int | None = None
    rcpt_domain_max: int | None = None


NO_LIMITS = ServerLimits()


def parse_limits(argument: str) -> ServerLimits:
    """Return what stands behind LIMITS in a reply to EHLO.

    A limit that is malformed counts as not said, and one malformed word makes nothing of all (RFC 9422
    section 3.7). Of a limit that is said twice the first counts.
    """
    found: dict[str, int | None] = {}
    for word in argument.split(" "):
        match = _WORD.fullmatch(word)
        if match is None:
            return NO_LIMITS
        value = match[2] or ""
        number = parse_number(value) if _VALUE.fullmatch(value) else None
        found.setdefault(match[1].upper(), number)
    return ServerLimits(found.get("MAILMAX"), found.get("RCPTMAX"), found.get("RCPTDOMAINMAX"))


def _offer(standing: Standing) -> str | None:
    limits = standing.config.limits
    kept = {
        "MAILMAX": limits.max_transactions,
        "RCPTMAX": limits.max_recipients,
        "RCPTDOMAINMAX": limits.max_recipient_domains,
    }
    words = [f"{name}={value}" for name, value in kept.items() if value is not None and 0 < value <= _MAX_VALUE]
    return " ".join(words) or None


LIMITS = Extension("LIMITS", "RFC 9422", _offer)
