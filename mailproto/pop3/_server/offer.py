"""What a server lists in CAPA, as things stand (RFC 2449 section 5): other things before and after login and TLS."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailproto.pop3.config import POP3ServerConfig


@dataclass(frozen=True, slots=True)
class Standing:
    """What the capabilities depend on.

    Attributes:
        config: how the server behaves.
        secure: whether TLS is in use.
        logged_in: whether the maildrop is open.
        login_allowed: whether a password may be sent now.
        mechanisms: the SASL mechanisms that are offered now.
        utf8: whether UTF-8 mode is on, behind which no STLS may come.
        trusted: whether the peer may speak for other clients.
        expire: days that mail stays at least, for who is logged in, or for anybody.
        login_delay: seconds from one login to the next, for who is logged in, or for anybody.
    """

    config: POP3ServerConfig
    secure: bool
    logged_in: bool
    login_allowed: bool
    mechanisms: Sequence[str]
    utf8: bool
    trusted: bool
    expire: float | None
    login_delay: int | None


def capabilities(now: Standing) -> Iterator[str]:
    """Yield the lines of the response to CAPA. What concerns logins stays after login (RFC 2449 section 5)."""
    config = now.config
    yield from ("TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE")
    if now.login_allowed and config.user:
        yield "USER"
    if now.mechanisms:
        yield " ".join(("SASL", *now.mechanisms))
    if config.starttls and not (now.secure or now.logged_in or now.utf8):
        yield "STLS"
    if config.utf8:
        yield "UTF8 USER" if config.utf8_user else "UTF8"
    if config.languages:
        yield "LANG"
    if now.expire is not None:
        days = "NEVER" if math.isinf(now.expire) else str(now.expire)
        yield _by_user(f"EXPIRE {days}", config.expire_by_user and not now.logged_in)
    if now.login_delay is not None:
        yield _by_user(f"LOGIN-DELAY {now.login_delay}", config.login_delay_by_user and not now.logged_in)
    if config.implementation and now.logged_in:
        yield f"IMPLEMENTATION {config.implementation}"
    if now.trusted and not now.logged_in:
        yield "XCLIENT"
    yield from config.extra_capabilities


def _by_user(line: str, differs: bool) -> str:
    return f"{line} USER" if differs else line
