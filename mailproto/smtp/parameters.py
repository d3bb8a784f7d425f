"""The parameters of MAIL and RCPT, typed, and how each is read and written (RFC 5321 section 4.1.2).

A parameter belongs to an extension (`mailproto.smtp.extensions`). Those that the library knows have a field of
their own in `MailParameters` or `RcptParameters`; those that an application registers land in ``extra``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mailproto._core.codec import decode_xtext, encode_xtext, parse_uint
from mailproto.address import Address
from mailproto.errors import GrammarError

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(r"[!-<>-~\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff]+")


class Body(enum.Enum):
    """What a message is made of, the values of BODY= (RFC 6152 section 2, RFC 3030 section 3)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Submitter(enum.Enum):
    """The value of AUTH= that names nobody (RFC 4954 section 5)."""

    UNKNOWN = "<>"


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What a client says of a message as a whole, in MAIL.

    ``size`` is in octets, with CRLF line ends and without stuffed dots (RFC 1870 section 5). ``auth`` is who
    submitted the message (RFC 4954 section 5).
    """

    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    auth: Address | Submitter | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What a client says of one recipient, in RCPT."""

    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its keyword, how its value is read and written, and the field that it fills.

    ``parse`` gets the text behind ``=``, or None, and raises `GrammarError`; ``format`` gets the value and returns
    that text, or None when the keyword stands alone. Without a ``field`` the value goes into ``extra``.
    """

    keyword: str
    parse: Callable[[str | None], object]
    format: Callable[[Any], str | None]
    field: str | None = None


def split_parameters(text: str, max_parameters: int) -> dict[str, str | None]:
    """Return keyword (in upper case) to value for what follows a path: nothing, or `` KEY=value KEY2``.

    Raises:
        GrammarError: not Mail-parameters of RFC 5321 section 4.1.2, one stands there twice, or too many.
    """
    if not text:
        return {}
    words = text.split(" ")
    if words[0] or len(words) - 1 > max_parameters:
        raise GrammarError("not a list of parameters")
    found: dict[str, str | None] = {}
    for word in words[1:]:
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise GrammarError("not a parameter")
        key = keyword.upper()
        if key in found:
            raise GrammarError(f"{key} stands there twice")
        found[key] = value if equals else None
    return found


def collect(known: Mapping[str, Parameter], found: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the arguments for `MailParameters` or `RcptParameters` that the parameters ``found`` stand for.

    Raises:
        GrammarError: a value is not what its parameter allows.
    """
    arguments: dict[str, Any] = {}
    extra: dict[str, object] = {}
    for keyword, text in found.items():
        parameter = known[keyword]
        value = parameter.parse(text)
        if parameter.field is None:
            extra[keyword] = value
        else:
            arguments[parameter.field] = value
    if extra:
        arguments["extra"] = extra
    return arguments


def format_parameters(known: Mapping[str, Parameter], values: MailParameters | RcptParameters) -> str:
    """Return what follows the path for these values: ``""``, or a space and the parameters.

    Raises:
        GrammarError: a value cannot be written, or nobody knows how to write it.
    """
    by_field = {parameter.field: parameter for parameter in known.values() if parameter.field}
    texts = []
    for name in (entry.name for entry in fields(values)):
        value = getattr(values, name)
        if name != "extra" and value is not None and value is not False:
            texts.append(_format_one(by_field.get(name), name, value))
    texts += [_format_one(known.get(name.upper()), name, value) for name, value in values.extra.items()]
    return "".join(texts)


def _format_one(parameter: Parameter | None, name: str, value: object) -> str:
    if parameter is None:
        raise GrammarError(f"no extension in use has a parameter {name!a:.40}")
    text = parameter.format(value)
    if text is None:
        return f" {parameter.keyword}"
    if not _VALUE.fullmatch(text):
        raise GrammarError(f"not a value for {parameter.keyword}")
    return f" {parameter.keyword}={text}"


def _parse_size(text: str | None) -> int:
    return parse_uint((text or "").encode("utf-8"))


def _format_size(size: int) -> str:
    if size < 0:
        raise GrammarError("a negative size")
    return str(size)


def _parse_body(text: str | None) -> Body:
    try:
        return Body((text or "").upper() if (text or "").isascii() else "")
    except ValueError:
        raise GrammarError("not a BODY value") from None


def _parse_flag(text: str | None) -> bool:
    if text is not None:
        raise GrammarError("this parameter takes no value")
    return True


def _parse_auth(text: str | None) -> Address | Submitter:
    if text == "<>":
        return Submitter.UNKNOWN
    try:
        return Address.parse(decode_xtext((text or "").encode("utf-8")).decode("utf-8"))
    except UnicodeDecodeError:
        raise GrammarError("not a mailbox in AUTH=") from None


def _format_auth(value: Address | Submitter) -> str:
    return value.value if isinstance(value, Submitter) else encode_xtext(str(value).encode("utf-8")).decode("ascii")


SIZE = Parameter("SIZE", _parse_size, _format_size, "size")
BODY = Parameter("BODY", _parse_body, lambda body: body.value, "body")
SMTPUTF8 = Parameter("SMTPUTF8", _parse_flag, lambda _: None, "smtputf8")
AUTH = Parameter("AUTH", _parse_auth, _format_auth, "auth")
