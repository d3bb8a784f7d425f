"""NO-SOLICITING: classes of mail that are not wanted (RFC 3865)."""

from __future__ import annotations

import re

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value

_MAX_KEYWORDS = 1000  # characters of all of them
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*", re.ASCII)


def _parse(text: str | None) -> tuple[str, ...]:
    return _checked(tuple(need_value(text).split(",")))


def _format(keywords: tuple[str, ...]) -> str:
    return ",".join(_checked(keywords))


def _checked(keywords: tuple[str, ...]) -> tuple[str, ...]:
    if not keywords or not all(map(_KEYWORD.fullmatch, keywords)) or len(",".join(keywords)) > _MAX_KEYWORDS:
        raise GrammarError("not solicitation class keywords")
    return keywords


def no_soliciting(*unwanted: str) -> Extension:
    """Return the extension for a server that does not want these classes, such as ``net.example:ADV``.

    SOLICIT= on MAIL, the classes of a message, is the application's to act upon: refuse with 550 5.7.1.

    Raises:
        GrammarError: not such keywords (RFC 3865 section 2.2).
    """
    argument = _format(unwanted) if unwanted else ""
    solicit = Parameter("SOLICIT", _parse, _format, "solicit")
    return Extension("NO-SOLICITING", "RFC 3865", lambda _: argument, mail=(solicit,))


NO_SOLICITING = no_soliciting()
"""For a server that refuses no class, but wants to know them."""
