"""Receiving a message: off with the dots, and everything that a server will not have in it.

A message that breaks a rule is read to its true end before it is refused, so that no part of it can pass for a
command. How much of it was passed on does not depend on how the network cut it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailproto._core.buffer import ReceiveBuffer
from mailproto._core.dots import Unstuffer
from mailproto._core.newlines import CanonicalNewlines, LineMeter, has_bare_newline
from mailproto.smtp import replies
from mailproto.smtp.config import BareNewlines, SMTPServerConfig
from mailproto.smtp.reply import Reply

_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class BodyReader:
    """Reads one message.

    Attributes:
        size: octets passed on so far.
        excess: octets read and dropped since the message was refused.
        refusal: the reply that it will get, once something is wrong with it.
    """

    __slots__ = (
        "_bare_refusal",
        "_canonical",
        "_lines",
        "_max_size",
        "_nul_ok",
        "_unstuffer",
        "excess",
        "refusal",
        "size",
    )

    def __init__(self, config: SMTPServerConfig) -> None:
        self.size = 0
        self.excess = 0
        self.refusal: Reply | None = None
        self._unstuffer = Unstuffer()
        self._max_size = config.max_message_size
        self._nul_ok = config.allow_nul
        closes = config.bare_newlines is BareNewlines.CLOSE
        self._bare_refusal = replies.BARE_NEWLINE_CLOSE if closes else replies.BARE_NEWLINE
        self._canonical = CanonicalNewlines() if config.bare_newlines is BareNewlines.NORMALIZE else None
        limit = config.limits.max_body_line
        self._lines = LineMeter(limit) if limit is not None else None

    @property
    def done(self) -> bool:
        """Whether the end of the message has come."""
        return self._unstuffer.done

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the message; return what of it is to be passed on."""
        content = buffer.unstuff(self._unstuffer)
        if self.refusal is not None:
            self.excess += len(content)
            return b""
        if self._canonical is not None:
            content = self._canonical.feed(content) + (self._canonical.finish() if self.done else b"")
        return self._checked(content)

    def _checked(self, content: bytes) -> bytes:
        if self._is_fine(content):
            self.size += len(content)
            return content
        position, self.refusal = min(self._faults(content), key=lambda fault: fault[0])
        self.size += position
        self.excess = len(content) - position
        return content[:position]

    def _is_fine(self, content: bytes) -> bool:
        return not (
            (self._lines is not None and self._lines.feed(content) is not None)
            or has_bare_newline(content)
            or (not self._nul_ok and b"\0" in content)
            or 0 < self._max_size < self.size + len(content)
        )

    def _faults(self, content: bytes) -> Iterator[tuple[int, Reply]]:
        """Yield where each kind of fault begins, first of its kind."""
        bare = _BARE_NEWLINE.search(content)
        if bare is not None:
            yield bare.start(), self._bare_refusal
        if not self._nul_ok and b"\0" in content:
            yield content.index(b"\0"), replies.NUL
        if 0 < self._max_size < self.size + len(content):
            yield self._max_size - self.size, replies.TOO_BIG
        if self._lines is not None and self._lines.fault is not None:
            yield self._lines.fault, replies.LONG_BODY_LINE
