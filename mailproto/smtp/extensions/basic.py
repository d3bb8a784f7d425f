"""The extensions that nearly every server has: pipelining, sizes, 8 bits, UTF-8, status codes, TLS, login, chunks.

And HELP and EXPN, which RFC 5321 has itself, and wants to be listed by who supports them (sections 3.5.2, 4.1.1.1).
"""

from __future__ import annotations

import enum
import re

from mailproto._core.codec import decode_xtext, encode_xtext
from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.extensions.frame import (
    Extension,
    Offered,
    Parameter,
    Settings,
    Standing,
    flag,
    need_value,
    offer_always,
    parse_number,
)
from mailproto.smtp.reply import Reply

_HEXCHAR = re.compile(r"\+[0-9A-Fa-f]{2}")


class Body(enum.Enum):
    """What a message is made of, the values of BODY= (RFC 6152 section 2, RFC 3030 section 3)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Submitter(enum.Enum):
    """The value of AUTH= that names nobody (RFC 4954 section 5)."""

    UNKNOWN = "<>"


TOO_BIG = Reply.build(552, "Message too big", "5.3.4")


def _offer_size(standing: Standing) -> str:
    return str(standing.config.max_message_size)


def _parse_size(text: str | None) -> int:
    return parse_number(need_value(text))


def _format_size(size: int) -> str:
    if type(size) is not int or size < 0:
        raise GrammarError("a size is a number of octets")
    return str(size)


def _check_size(config: Settings, size: int) -> Reply | None:
    return TOO_BIG if 0 < config.max_message_size < size else None


def _parse_body(text: str | None) -> Body:
    value = need_value(text)
    try:
        return Body(value.upper() if value.isascii() else "")
    except ValueError:
        raise GrammarError("not a BODY value") from None


def _fit_body(offered: Offered, body: Body) -> None:
    if body is not Body.SEVEN_BIT and body.value not in offered.keywords:
        raise NotSupportedError(f"the server does not offer {body.value}")


def _offer_starttls(standing: Standing) -> str | None:
    return "" if standing.config.starttls and not standing.secure else None


def _offer_auth(standing: Standing) -> str | None:
    return " ".join(standing.auth_mechanisms) or None


def _parse_auth(text: str | None) -> Address | Submitter:
    if text == "<>":
        return Submitter.UNKNOWN
    xtext = _HEXCHAR.sub(lambda match: match[0].upper(), need_value(text))  # for here case says nothing (section 8)
    try:
        return Address.parse(decode_xtext(xtext.encode("utf-8")).decode("utf-8"))
    except UnicodeDecodeError:
        raise GrammarError("not a mailbox in AUTH=") from None


def _format_auth(value: Address | Submitter) -> str:
    return value.value if isinstance(value, Submitter) else encode_xtext(str(value).encode("utf-8")).decode("ascii")


PIPELINING = Extension("PIPELINING", "RFC 2920", offer_always)
SIZE = Extension(
    "SIZE",
    "RFC 1870",
    _offer_size,
    mail=(Parameter("SIZE", _parse_size, _format_size, "size", check=_check_size),),
)
_BODY = Parameter("BODY", _parse_body, lambda body: body.value, "body", fit=_fit_body)
EIGHT_BIT_MIME = Extension("8BITMIME", "RFC 6152", offer_always, mail=(_BODY,))
SMTPUTF8 = Extension("SMTPUTF8", "RFC 6531", offer_always, mail=(flag("SMTPUTF8", "smtputf8"),))
ENHANCED_STATUS_CODES = Extension("ENHANCEDSTATUSCODES", "RFC 2034", offer_always)
CHUNKING = Extension("CHUNKING", "RFC 3030", offer_always)
BINARYMIME = Extension("BINARYMIME", "RFC 3030", offer_always, mail=(_BODY,))
STARTTLS = Extension("STARTTLS", "RFC 3207", _offer_starttls)
AUTH = Extension("AUTH", "RFC 4954", _offer_auth, mail=(Parameter("AUTH", _parse_auth, _format_auth, "auth"),))
HELP = Extension("HELP", "RFC 5321", offer_always)
EXPN = Extension("EXPN", "RFC 5321", offer_always)
