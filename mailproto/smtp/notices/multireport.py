"""How a notice is written: a multipart/report (RFC 6522) of a text, a status (RFC 3464), and what it is about.

It quotes what strangers wrote, so every line of it is made here, of printable characters alone. ``email`` would
decode what looks like an encoded word in a server's reply, and write what was hidden in it.
"""

from __future__ import annotations

import base64
import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence

from mailproto._core.codec import TURNING, UNSAFE

_TEXT_WIDTH, _FIELD_WIDTH = 78, 220  # characters; of up to four octets each, and a line has 998 (RFC 5322 2.1.1)
_WORD_WIDTH = 900  # octets; no word of a shorter line is broken, since whoever unfolds it finds a space there

_UNPRINTABLE = re.compile(r"[^ -~]")
_UNPRINTABLE_UTF8 = re.compile(f"[{UNSAFE}{TURNING}]")


class ReportWriter:
    """Writes the parts of a report.

    Args:
        utf8: let them have characters beyond ASCII, in the types of RFC 6533; without it these become ``?``.
        eight_bit: let such characters stand for themselves, which takes a reader with SMTPUTF8 (section 4.5).
    """

    def __init__(self, *, utf8: bool, eight_bit: bool) -> None:
        self._utf8 = utf8
        self._eight_bit = eight_bit

    def text(self, lines: Iterable[str]) -> bytes:
        """Return the part for people."""
        wrapped = (piece for line in lines for piece in self._wrap(line, _TEXT_WIDTH) or [""])
        return self._part("text/plain; charset=utf-8", "".join(f"{line}\r\n" for line in wrapped))

    def status(self, groups: Iterable[Iterable[tuple[str, str]]]) -> bytes:
        """Return the part for programs: groups of fields, of which a value may have several lines."""
        text = "\r\n".join("".join(self._field(*field) for field in group) for group in groups)
        return self._part(f"message/{'' if text.isascii() else 'global-'}delivery-status", text)

    def original(self, header: bytes, whole: bytes | None) -> bytes:
        """Return the part with the message that the report is about, or with its header alone."""
        utf8 = self._utf8 and not header.isascii()
        if whole is None:
            return self._part("message/global-headers" if utf8 else "text/rfc822-headers", header)
        return self._part("message/global" if utf8 else "message/rfc822", whole)

    def multipart(self, parts: Sequence[bytes], name: str) -> bytes:
        """Return the parts as one body, with its Content-Type field; ``name`` makes the boundary."""
        boundaries = (f"=_{name}_{count}" for count in itertools.count())
        boundary = next(each for each in boundaries if not any(each.encode() in part for part in parts))
        kind = f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"'
        body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
        return f"Content-Type: {kind}\r\n\r\n".encode() + body + f"--{boundary}--\r\n".encode()

    def _part(self, content_type: str, content: str | bytes) -> bytes:
        fields = f"Content-Type: {content_type}\r\n"
        body = content.encode() if isinstance(content, str) else content
        if not body.isascii():
            # message/rfc822 may not be encoded (RFC 2046 section 5.2.1).
            plain = self._eight_bit or content_type == "message/rfc822"
            fields += f"Content-Transfer-Encoding: {'8bit' if plain else 'base64'}\r\n"
            body = body if plain else base64.encodebytes(body).replace(b"\n", b"\r\n")
        return fields.encode() + b"\r\n" + body

    def _field(self, name: str, value: str) -> str:
        lines = itertools.chain.from_iterable(self._wrap(line, _FIELD_WIDTH) for line in value.split("\n"))
        return f"{name}: " + "\r\n ".join(lines) + "\r\n"

    def _wrap(self, line: str, width: int) -> Sequence[str]:
        """Return a line as lines of this width, with a question mark for whatever may not stand in them."""
        clean = (_UNPRINTABLE_UTF8 if self._utf8 else _UNPRINTABLE).sub("?", line)
        indent = clean[: len(clean) - len(clean.lstrip(" "))]
        breaks = len(clean.encode()) > _WORD_WIDTH
        return textwrap.wrap(clean, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=breaks)
