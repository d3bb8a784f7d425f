"""MT-PRIORITY: more important messages go first (RFC 6710).

Off by default: a server must not take positive priorities from anybody who is not authorised (section 4.1), and only
the application knows who is.
"""

from __future__ import annotations

import re

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value, parse_number

_PRIORITY = re.compile(r"-?[1-9]|0", re.ASCII)
_PROFILE = re.compile(r"[A-Za-z0-9._-]{0,20}", re.ASCII)


def _parse(text: str | None) -> int:
    value = need_value(text)
    if not _PRIORITY.fullmatch(value):
        raise GrammarError("not a priority")
    return -parse_number(value[1:]) if value[0] == "-" else parse_number(value)


def _format(priority: int) -> str:
    if not -9 <= priority <= 9:
        raise GrammarError("a priority is from -9 to 9")
    return str(priority)


def mt_priority(profile: str = "") -> Extension:
    """Return the extension for a server; ``profile`` is the name of its Priority Assignment Policy, if it tells.

    Raises:
        GrammarError: not such a name (RFC 6710 section 7).
    """
    if not _PROFILE.fullmatch(profile):
        raise GrammarError("not the name of a priority profile")
    parameter = Parameter("MT-PRIORITY", _parse, _format, "mt_priority")
    return Extension("MT-PRIORITY", "RFC 6710", lambda _: profile, mail=(parameter,))


MT_PRIORITY = mt_priority()
"""Without the name of a policy."""
