"""Small exact codecs: numbers, base64, xtext. Each refuses what its RFC does not produce.

Python's own conversions are too generous for a wire: ``int`` takes ``2_5``, ``+25`` and Arabic digits, and
``b64decode`` skips what it does not know. Every number and every base64 text from a peer passes through here.
"""

from __future__ import annotations

import binascii
import re

from mailproto.errors import GrammarError

UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""What no text on the wire may have, for a class of characters in a regular expression: controls, the line ends of
Unicode, at which logs would split, and surrogates. The class of all others is compiled many times faster if it says
what it has not than if it says what it has."""

TURNING = r"\u202a-\u202e\u2066-\u2069"
"""What turns letters around where a text is shown, for a class of characters likewise."""

_DIGITS = frozenset(b"0123456789")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_XTEXT_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"+=")


def parse_uint(digits: bytes, max_digits: int = 20) -> int:
    """Return the number that 1 to ``max_digits`` ASCII digits stand for; raise `GrammarError` for all else."""
    if not 0 < len(digits) <= max_digits or not _DIGITS.issuperset(digits):
        raise GrammarError("not a number of ASCII digits")
    return int(digits)


def encode_base64(data: bytes) -> bytes:
    """Return ``data`` in base64 (RFC 4648 section 4), on one line."""
    return binascii.b2a_base64(data, newline=False)


def decode_base64(text: bytes) -> bytes:
    """Return what canonical base64 stands for.

    RFC 4954 section 4 and RFC 5034 section 4 have foreign characters and misplaced padding refused. A text
    whose unused bits are not zero is refused too: two texts for one value would be one too many.

    Raises:
        GrammarError: ``text`` is not what `encode_base64` makes of any bytes.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise GrammarError("not base64") from error
    if encode_base64(data) != text:
        raise GrammarError("not canonical base64")
    return data


def encode_xtext(text: bytes) -> bytes:
    """Return ``text`` as xtext (RFC 3461 section 4): ``+``, ``=`` and all that is not printable become ``+XX``."""
    return b"".join(bytes((byte,)) if byte in _XTEXT_PLAIN else b"+%02X" % byte for byte in text)


def decode_xtext(text: bytes) -> bytes:
    """Return what xtext (RFC 3461 section 4) stands for.

    Raises:
        GrammarError: not xtext, or a control character hides in it, which would be a line end to somebody.
    """
    if not _XTEXT.fullmatch(text):
        raise GrammarError("not xtext")
    decoded = _HEXCHAR.sub(lambda match: bytes((int(match[1], 16),)), text)
    if any(byte < 0x20 or byte == 0x7F for byte in decoded):
        raise GrammarError("control character in xtext")
    return decoded


def printable(data: bytes, limit: int = 200) -> str:
    """Return ``data`` fit for a log line or an exception: escaped, on one line, at most ``limit`` octets of it."""
    shown = data[:limit].decode("ascii", "backslashreplace")
    escaped = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in shown)
    return escaped if len(data) <= limit else f"{escaped}… ({len(data)} octets)"
