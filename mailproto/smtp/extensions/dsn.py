"""DSN: which notices the sender wants of a delivery, and what they are to say (RFC 3461, RFC 6533 section 3).

A server that offers it promises to send these notices, or to pass the requests on to who does (RFC 3461 section 5),
so it is off until the application does.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeVar

from mailproto._core.codec import UNSAFE, decode_xtext, encode_xtext
from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value, offer_always

_MAX_ENVID, _MAX_ORCPT = 100, 500  # characters of the values, RFC 3461 sections 4.4 and 4.2

_PRINTABLE = re.compile(r"[ -~]*")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+")
_PRINTABLE_UTF8 = re.compile(f"[^{UNSAFE}]+")
# HEXPOINT of RFC 6533 section 3, without the control characters that it has room for.
_HEXPOINT = re.compile(
    r"\\x\{(20|2B|3D|5C|[A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9A-CEF][0-9A-F]{3}|D[0-7][0-9A-F]{2}"
    r"|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4})\}",
    re.ASCII | re.IGNORECASE,
)
_UNITEXT = re.compile(rf"(?:[^{UNSAFE} +=\\]|{_HEXPOINT.pattern})+", re.ASCII | re.IGNORECASE)
_SPECIAL = re.compile(r"[ \\+=]")
_SPECIAL_OR_UTF8 = re.compile(rf"[^{UNSAFE}!-*,-<>-\[\]-~]")


_Word = TypeVar("_Word", bound=enum.Enum)


class Ret(enum.Enum):
    """How much of the message a notice of failure is to return (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(enum.Enum):
    """When the sender wants to hear of a recipient (RFC 3461 section 4.1).

    Attributes:
        SUCCESS: when the message is delivered to him.
        FAILURE: when it is given up.
        DELAY: when it is late.
        NEVER: under no conditions; stands alone.
    """

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"
    NEVER = "NEVER"


class AsReceived(str):
    """The value of a parameter that remembers how it was encoded.

    A text has many encodings, and a relay has to pass on the one that it was given (RFC 3461 section 5.2.1).
    """

    __slots__ = ("encoded",)
    encoded: str

    def __new__(cls, text: str, encoded: str) -> Self:
        value = super().__new__(cls, text)
        value.encoded = encoded
        return value

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self), self.encoded)


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """Whom the sender meant, before aliases and lists made somebody else of him (RFC 3461 section 4.2).

    Args:
        address_type: ``rfc822``, or ``utf-8`` if the address is not ASCII (RFC 6533), or another registered type.
        address: the address as people write it; what the wire needs is added and taken off. One that came over the
            wire goes on as it came.

    Raises:
        GrammarError: the type is no atom, or the address has a character that no notice could show.
    """

    address_type: str
    address: str

    def __post_init__(self) -> None:
        if not _ATOM.fullmatch(self.address_type):
            raise GrammarError("not an address type")
        allowed = _PRINTABLE_UTF8 if self.is_utf8 else _PRINTABLE
        if not allowed.fullmatch(self.address):
            raise GrammarError(f"not printable in an address of the type {self.address_type}")

    @property
    def is_utf8(self) -> bool:
        """Whether this is an address of RFC 6533, written in its own way."""
        return self.address_type.lower() == "utf-8"

    def __str__(self) -> str:
        return f"{self.address_type};{self.address}"


def _parse_ret(text: str | None) -> Ret:
    return _member(Ret, need_value(text))


def _parse_notify(text: str | None) -> frozenset[Notify]:
    return _alone(frozenset(_member(Notify, word) for word in need_value(text).split(",")))


def _format_notify(wanted: frozenset[Notify]) -> str:
    return ",".join(member.value for member in Notify if member in _alone(wanted))


def _alone(wanted: frozenset[Notify]) -> frozenset[Notify]:
    if not wanted or (Notify.NEVER in wanted and len(wanted) > 1):
        raise GrammarError("NOTIFY takes NEVER, or some of the others")
    return wanted


def _member(kind: type[_Word], word: str) -> _Word:
    try:
        return kind(word.upper() if word.isascii() else "")
    except ValueError:
        raise GrammarError("not a keyword of this parameter") from None


def _parse_envid(text: str | None) -> str:
    value = need_value(text)
    if len(value) > _MAX_ENVID:
        raise GrammarError("ENVID is longer than 100 characters")
    return _decode(value)


def _format_envid(envid: str) -> str:
    if not _PRINTABLE.fullmatch(envid):
        raise GrammarError("ENVID is printable ASCII")
    return _bounded(_encode(envid), _MAX_ENVID)


def _parse_orcpt(text: str | None) -> OriginalRecipient:
    value = need_value(text)
    if len(value) > _MAX_ORCPT:
        raise GrammarError("ORCPT is longer than 500 characters")
    address_type, semicolon, address = value.partition(";")
    if not semicolon:
        raise GrammarError("ORCPT without an address type")
    utf8 = address_type.lower() == "utf-8"
    return OriginalRecipient(address_type, decode_unitext(address) if utf8 else _decode(address))


def _format_orcpt(original: OriginalRecipient) -> str:
    """Return the form for SMTPUTF8, utf-8-addr-unitext: what is beyond ASCII stands for itself."""
    return _format_typed(original, _SPECIAL)


def _format_orcpt_ascii(original: OriginalRecipient) -> str:
    """Return the form for everybody else, utf-8-addr-xtext."""
    return _format_typed(original, _SPECIAL_OR_UTF8)


def _format_typed(original: OriginalRecipient, special: re.Pattern[str]) -> str:
    encoded = _encode_unitext(original.address, special) if original.is_utf8 else _encode(original.address)
    return _bounded(f"{original.address_type};{encoded}", _MAX_ORCPT)


def _encode_unitext(address: str, special: re.Pattern[str]) -> str:
    received = _as_it_came(address, decode_unitext)
    if received is not None and (special is _SPECIAL or received.isascii()):
        return received
    return special.sub(lambda match: rf"\x{{{ord(match[0]):02X}}}", address)


def decode_unitext(text: str) -> str:
    """Return the address that any of the three forms of RFC 6533 section 3 stands for.

    Raises:
        GrammarError: it is none of them.
    """
    if not _UNITEXT.fullmatch(text):
        raise GrammarError("not an address of the type utf-8")
    return AsReceived(_HEXPOINT.sub(lambda match: chr(int(match[1], 16)), text), text)


def _decode(text: str) -> str:
    try:
        return AsReceived(decode_xtext(text.encode("utf-8")).decode("ascii"), text)
    except UnicodeDecodeError:
        raise GrammarError("xtext that is not printable ASCII") from None


def _encode(text: str) -> str:
    return _as_it_came(text, _decode) or encode_xtext(text.encode("ascii")).decode("ascii")


def _as_it_came(text: str, decode: Callable[[str], str]) -> str | None:
    """Return how ``text`` was encoded when it came, if it came, and in this encoding."""
    if isinstance(text, AsReceived):
        with suppress(GrammarError):
            return text.encoded if decode(text.encoded) == text else None
    return None


def _bounded(text: str, limit: int) -> str:
    if len(text) > limit:
        raise GrammarError(f"longer than {limit} characters on the wire")
    return text


DSN = Extension(
    "DSN",
    "RFC 3461",
    offer_always,
    mail=(
        Parameter("RET", _parse_ret, lambda ret: ret.value, "ret"),
        Parameter("ENVID", _parse_envid, _format_envid, "envid"),
    ),
    rcpt=(
        Parameter("NOTIFY", _parse_notify, _format_notify, "notify"),
        Parameter("ORCPT", _parse_orcpt, _format_orcpt, "orcpt", format_ascii=_format_orcpt_ascii),
    ),
)
