"""The attributes of XCLIENT as Dovecot has it for POP3: ``XCLIENT ADDR=192.0.2.1 PORT=1234 SESSION=abc``.

The values stand there as they are: not in xtext as over SMTP, and an IPv6 address has nothing in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailproto._core.attributes import Attributes, check_address, check_port, join_attributes, split_attributes
from mailproto._core.codec import decode_base64, parse_uint
from mailproto.errors import GrammarError

XCLIENT_NAMES = ("ADDR", "PORT", "SESSION", "TTL", "FORWARD")
"""``SESSION`` is what the proxy calls the session in its log; ``TTL`` how many more proxies there may be; ``FORWARD``
fields of the proxy's own, in base64."""

_SESSION = re.compile(r"[!-~]{1,64}")


def parse_xclient(text: str) -> dict[str, str | None]:
    """Return the attributes in the argument of XCLIENT.

    Raises:
        GrammarError: not pairs of a name in `XCLIENT_NAMES` and a value, one stands there twice, or a value is none.
    """
    return {name: _CHECKS[name](value) for name, value in split_attributes(text, XCLIENT_NAMES).items()}


def format_xclient(attributes: Attributes) -> str:
    """Return the argument of XCLIENT for these attributes.

    Raises:
        GrammarError: there are none, or one that the command does not have, or a value that cannot be.
    """
    return join_attributes(attributes, XCLIENT_NAMES, _encode)


def _encode(name: str, value: str | None) -> str:
    if value is None:
        raise GrammarError("over POP3 an attribute is told with its value or not at all")
    return _CHECKS[name](value)


def _session(value: str) -> str:
    if not _SESSION.fullmatch(value):
        raise GrammarError("not a session in an attribute")
    return value


def _ttl(value: str) -> str:
    return str(parse_uint(value.encode("utf-8"), max_digits=3))


def _forward(value: str) -> str:
    decode_base64(value.encode("utf-8"))
    return value


_CHECKS: dict[str, Callable[[str], str]] = {
    "ADDR": check_address,
    "PORT": check_port,
    "SESSION": _session,
    "TTL": _ttl,
    "FORWARD": _forward,
}
