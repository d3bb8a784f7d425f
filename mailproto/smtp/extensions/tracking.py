"""MTRK: the sender may ask later what became of a message (RFC 3885)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailproto._core.codec import decode_base64, encode_base64
from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Parameter, need_value, offer_always, parse_number

_MTRK = re.compile(r"([A-Za-z0-9+/]+)(?::([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a later question has to match, and how long it may be asked.

    Args:
        certifier: the SHA-1 hash of the sender's secret.
        timeout: seconds, None for as long as the server likes.
    """

    certifier: bytes = field(repr=False)
    timeout: int | None = None

    def __post_init__(self) -> None:
        if not self.certifier or not (self.timeout is None or 0 <= self.timeout <= 999_999_999):
            raise GrammarError("MTRK takes a certifier, and a timeout of up to nine digits")


def _parse(text: str | None) -> Tracking:
    match = _MTRK.fullmatch(need_value(text))
    if match is None:
        raise GrammarError("not an MTRK value")
    # A parameter has no room for "=", so the padding is left out (RFC 3885 section 3.2 counts 27 octets).
    certifier = decode_base64(match[1].encode("ascii") + b"=" * (-len(match[1]) % 4))
    return Tracking(certifier, None if match[2] is None else parse_number(match[2], 9))


def _format(tracking: Tracking) -> str:
    certifier = encode_base64(tracking.certifier).decode("ascii").partition("=")[0]
    return certifier if tracking.timeout is None else f"{certifier}:{tracking.timeout}"


MTRK = Extension("MTRK", "RFC 3885", offer_always, mail=(Parameter("MTRK", _parse, _format, "mtrk"),))
