"""What a domain says of the TLS of its mail hosts (MTA-STS, RFC 8461): the record in its DNS, and its policy.

The record says that there is a policy, and which one; the policy itself comes over HTTPS, so that nobody on the way
can take it away from who has it already. Nothing is asked for here: `mailproto.relay.PolicyStore` does that.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailproto._core.codec import parse_uint
from mailproto.address import check_domain
from mailproto.errors import GrammarError

__all__ = [
    "MAX_AGE",
    "MAX_POLICY",
    "WELL_KNOWN",
    "Mode",
    "Policy",
    "parse_policy",
    "policy_host",
    "policy_id",
    "record_name",
]

MAX_POLICY = 64 << 10
"""Octets of a policy at most (section 3.3)."""

MAX_AGE = 31_557_600
"""Seconds that a policy may be kept at most: a year (section 3.2)."""

WELL_KNOWN = "/.well-known/mta-sts.txt"
"""Where a policy host has the policy (section 3.2)."""

_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_DELIMITER = r"[ \t]*;[ \t]*"
_FIELD = rf"{_DELIMITER}{_NAME}=[!-:<>-~]+"
_BEGINNING_RE = re.compile(rb"v=STSv1[ \t]*;")
_RECORD_RE = re.compile(rf"v=STSv1(?:{_FIELD})+(?:{_DELIMITER})?".encode())
_ID_RE = re.compile(rb"[A-Za-z0-9]{1,32}")
_LINE_RE = re.compile(rf"({_NAME}):[ \t]*+([^\x00-\x1f\x7f]*+)")  # with no way back: both may take spaces


class Mode(enum.Enum):
    """What is to become of mail where no host of the domain fulfils its policy (section 5).

    Attributes:
        ENFORCE: it must not be sent.
        TESTING: it is sent as if there were no policy.
        NONE: there is none, and no longer one that was there before (section 8.3).
    """

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain promises of its mail hosts: TLS 1.2 or later, and a certificate with the name of the host from an
    authority that everybody trusts (section 4).

    Args:
        mode: what is to become of mail where the promise is not kept.
        max_age: seconds that the policy may be kept.
        mx: the names of the hosts, in lower-case A-labels; ``*.`` in front stands for one label.
    """

    mode: Mode
    max_age: int
    mx: tuple[str, ...] = ()

    def matches(self, host: str) -> bool:
        """Say whether this is one of the hosts (section 4.1)."""
        name = host.removesuffix(".").lower()
        label, _, parent = name.partition(".")
        return name in self.mx or (label != "" and f"*.{parent}" in self.mx)


def record_name(domain: str) -> str:
    """Return whose TXT records say that a domain has a policy (section 3.1).

    Raises:
        GrammarError: it is no domain in A-labels.
    """
    _check_name(domain)
    return f"_mta-sts.{domain}"


def policy_host(domain: str) -> str:
    """Return the host that has the policy of a domain (section 3.2); raise as `record_name` does."""
    _check_name(domain)
    return f"mta-sts.{domain}"


def policy_id(records: Iterable[bytes]) -> str | None:
    """Return which policy a domain has now, by its TXT records, the strings of each joined (section 3.1); None if
    they do not say that there is one.
    """
    found = [record for record in records if _BEGINNING_RE.match(record)]
    if len(found) != 1 or not _RECORD_RE.fullmatch(found[0]):
        return None
    fields = [field.strip(b" \t").partition(b"=") for field in found[0].split(b";")]
    ids = [value for name, _, value in fields if name == b"id"]  # all but the first one are ignored
    return ids[0].decode("ascii") if ids and _ID_RE.fullmatch(ids[0]) else None


def parse_policy(octets: bytes) -> Policy:
    """Return the policy that a policy host has given (section 3.2). Lines may end with LF, too, and those that are
    empty are passed over.

    Raises:
        GrammarError: it is none, or too long.
    """
    if len(octets) > MAX_POLICY:
        raise GrammarError(f"a policy of more than {MAX_POLICY} octets")
    fields: dict[str, list[str]] = {}
    for line in _lines(octets):
        match = _LINE_RE.fullmatch(line)
        if match is None:
            raise GrammarError(f"not a field of a policy: {line!a:.100}")
        fields.setdefault(match[1], []).append(match[2])
    if _first(fields, "version") != "STSv1":
        raise GrammarError("a policy of another version")
    mode = _mode(_first(fields, "mode"))
    max_age = parse_uint(_first(fields, "max_age").encode(), max_digits=10)
    mx = tuple(dict.fromkeys(map(_pattern, fields.get("mx", ()))))
    if not mx and mode is not Mode.NONE:
        raise GrammarError("a policy that names no hosts")
    return Policy(mode, min(max_age, MAX_AGE), mx)


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise GrammarError(f"not a mode of a policy: {text!a:.100}") from None


def _lines(octets: bytes) -> list[str]:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("a policy that is not UTF-8") from None
    lines = [line.removesuffix("\r").rstrip(" \t") for line in text.split("\n")]
    return [line for line in lines if line]


def _first(fields: dict[str, list[str]], name: str) -> str:
    """Return the value of a field; all but the first one are to be ignored."""
    if name not in fields:
        raise GrammarError(f"a policy without {name}")
    return fields[name][0]


def _pattern(text: str) -> str:
    _check_name(text.removeprefix("*."))
    return text.lower()


def _check_name(name: str) -> None:
    if name.startswith("[") or not name.isascii():
        raise GrammarError(f"not a name in A-labels: {name!a:.100}")
    check_domain(name)
