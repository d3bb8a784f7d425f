"""CHECKPOINT: a name for a transaction, under which it could be resumed (RFC 1845).

Only the name is read and written. A server begins every transaction anew; a client that is offered to go on with an
interrupted one (355, section 3) learns of it, and can only take that back and send the message as a whole.
"""

from __future__ import annotations

import re

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value, offer_always

RESUME = 355  # the reply to MAIL that offers it
_MAX_TRANSID = 80
_ATOM = r"[!#$%&'*+^_`{|}~0-9A-Za-z-]+"  # no space, no tspecial of RFC 1521, no dot
_TOKEN = rf"{_ATOM}(?:\.{_ATOM})*"
_TRANSID = re.compile(rf"<{_TOKEN}@{_TOKEN}>", re.ASCII)


def _parse(text: str | None) -> str:
    return _checked(need_value(text))


def _checked(transid: str) -> str:
    if len(transid) > _MAX_TRANSID or not _TRANSID.fullmatch(transid):
        raise GrammarError("not a TRANSID")
    return transid


CHECKPOINT = Extension(
    "CHECKPOINT", "RFC 1845", offer_always, mail=(Parameter("TRANSID", _parse, _checked, "transid"),)
)
