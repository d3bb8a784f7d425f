"""The attributes of XCLIENT and XFORWARD: what a trusted proxy or filter tells of the client behind it.

``XCLIENT NAME=spike.example ADDR=192.0.2.1`` is Postfix's, and spoken by others: pairs of a name and an xtext, where
``[UNAVAILABLE]`` and ``[TEMPUNAVAIL]`` say that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailproto._core.attributes import Attributes as Attributes
from mailproto._core.attributes import check_address, check_port, join_attributes, split_attributes
from mailproto._core.codec import UNSAFE, decode_xtext, encode_xtext
from mailproto.errors import GrammarError

XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")

_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_TEXT = re.compile(rf"[^{UNSAFE}]{{1,255}}")


def parse_attributes(text: str, names: tuple[str, ...]) -> dict[str, str | None]:
    """Return the attributes of a command's argument.

    Raises:
        GrammarError: not pairs of a name in ``names`` and an xtext, one stands there twice, or a value is none.
    """
    return {name: _decode(name, value) for name, value in split_attributes(text, names).items()}


def format_attributes(attributes: Attributes, names: tuple[str, ...]) -> str:
    """Return the argument of a command for these attributes.

    Raises:
        GrammarError: there are none, or one that the command does not have, or a value that cannot be.
    """
    return join_attributes(attributes, names, _encode)


def _decode(name: str, text: str) -> str | None:
    if text.upper() in _UNKNOWN:
        return None
    try:
        value = decode_xtext(text.encode("utf-8")).decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("an attribute that is not UTF-8") from None
    return _check(name, value)


def _encode(name: str, value: str | None) -> str:
    if value is None:
        return _UNKNOWN[0]
    checked = _check(name, value)
    prefix = "IPV6:" if name in _ADDRESSES and ":" in checked else ""
    return prefix + encode_xtext(checked.encode("utf-8")).decode("ascii")


def _check(name: str, value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise GrammarError("an attribute without a value, with too much of it, or with a control character")
    return _CHECKS.get(name, _as_it_is)(value)


def _as_it_is(value: str) -> str:
    return value


def _protocol(value: str) -> str:
    if value.upper() not in ("SMTP", "ESMTP", "LMTP"):
        raise GrammarError("not a protocol in an attribute")
    return value.upper()


_ADDRESSES = ("ADDR", "DESTADDR")
_CHECKS: dict[str, Callable[[str], str]] = {
    "ADDR": check_address,
    "DESTADDR": check_address,
    "PORT": check_port,
    "DESTPORT": check_port,
    "PROTO": _protocol,
}
