"""Receiving a message, by DATA or by BDAT, and everything that a server will not have in it.

A message that breaks a rule is read to its true end before it is refused, so that no part of it can pass for a
command. How much of it was passed on does not depend on how the network cut it.
"""

from __future__ import annotations

import re
from typing import Protocol

from mailproto._core.buffer import ReceiveBuffer
from mailproto._core.dots import Unstuffer
from mailproto._core.newlines import CanonicalNewlines, LineMeter, has_bare_newline
from mailproto.smtp._server import replies
from mailproto.smtp.config import BareNewlines, SMTPServerConfig
from mailproto.smtp.reply import Reply
from mailproto.smtp.trace import HopCounter

_NORMALIZE = BareNewlines.NORMALIZE
_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class Source(Protocol):
    """Where the octets of a message come from."""

    @property
    def done(self) -> bool:
        """Whether the end of the message has come."""

    @property
    def at_boundary(self) -> bool:
        """Whether the end of the message, or of a chunk of it, has come."""

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the message, and return it, cut at no CRLF."""


class DataSource(Unstuffer):
    """The text behind DATA: CRLF lines, dots stuffed, to a lone dot (RFC 5321 section 4.5.2)."""

    __slots__ = ()

    @property
    def at_boundary(self) -> bool:
        """Whether the lone dot has come."""
        return self.done

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the text, and return it with the dots off."""
        return buffer.unstuff(self)


class ChunkSource:
    """The octets behind BDAT: so many as were announced, in chunk after chunk (RFC 3030 section 2).

    Attributes:
        remaining: octets of the chunk under way that have not come yet.
        last: whether it is the last chunk.
        size: octets of the chunk.
    """

    __slots__ = ("_kept", "last", "remaining", "size")

    def __init__(self) -> None:
        self.remaining = self.size = 0
        self.last = False
        self._kept = b""

    def begin(self, size: int, last: bool) -> None:
        """Begin with a chunk of ``size`` octets."""
        self.remaining = self.size = size
        self.last = last

    @property
    def done(self) -> bool:
        """Whether the last chunk is complete, and nothing of it is held back."""
        return self.last and not self.remaining and not self._kept

    @property
    def at_boundary(self) -> bool:
        """Whether the chunk is complete."""
        return not self.remaining

    @property
    def cuts_line_end(self) -> bool:
        """Whether the chunks so far end with a CR, which waits for what follows."""
        return bool(self._kept)

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the chunk; a CR at its end waits for what follows."""
        data = buffer.take(self.remaining)
        self.remaining -= len(data)
        if self._kept:
            data, self._kept = self._kept + data, b""
        if data[-1:] == b"\r" and not self.done:
            data, self._kept = data[:-1], b"\r"
        return data


class BodyReader:
    """Reads one message.

    Attributes:
        source: where its octets come from.
        size: octets passed on so far.
        excess: octets read and dropped since the message was refused.
        refusal: the reply that it will get, once something is wrong with it.
    """

    __slots__ = (
        "_binary",
        "_canonical",
        "_config",
        "_hops",
        "_lines",
        "excess",
        "refusal",
        "size",
        "source",
    )

    def __init__(self, config: SMTPServerConfig, source: Source, *, binary: bool = False) -> None:
        """Read from ``source``; in a ``binary`` message (BODY=BINARYMIME) every octet is as good as the other."""
        self.source = source
        self.size = self.excess = 0
        self.refusal: Reply | None = None
        self._config = config
        self._binary = binary
        self._canonical = CanonicalNewlines() if config.bare_newlines is _NORMALIZE and not binary else None
        self._hops = HopCounter(config.limits.max_hops)
        limit = config.limits.max_body_line
        self._lines = LineMeter(limit) if limit is not None and not binary else None

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the message; return what of it is to be passed on."""
        content = self.source.read(buffer)
        if not content and not self.source.at_boundary:
            return content
        if self.refusal is not None:
            self.excess += len(content)
            return b""
        if self._canonical is not None:
            content = self._canonical.feed(content) + (self._canonical.finish() if self.source.done else b"")
        faults = self._faults(content)
        if faults:
            position, self.refusal = min(faults, key=lambda fault: fault[0])
            self.excess = len(content) - position
            content = content[:position]
        self.size += len(content)
        return content

    def _faults(self, content: bytes) -> list[tuple[int, Reply]]:
        """Return where each kind of fault begins in the next piece, and what it is refused with."""
        config = self._config
        faults: list[tuple[int, Reply]] = []
        if not self._binary and has_bare_newline(content):
            found = _BARE_NEWLINE.search(content)
            closes = config.bare_newlines is BareNewlines.CLOSE
            refusal = replies.BARE_NEWLINE_CLOSE if closes else replies.BARE_NEWLINE
            faults.append((found.start() if found else 0, refusal))
        if 0 in content and not (self._binary or config.allow_nul):  # b"\0" would be tried as a number first
            faults.append((content.index(0), replies.NUL))
        if 0 < config.max_message_size < self.size + len(content):
            faults.append((config.max_message_size - self.size, replies.TOO_BIG))
        hop = self._hops.feed(content)
        if hop is not None:
            faults.append((hop, replies.TOO_MANY_HOPS))
        line = self._lines.feed(content) if self._lines is not None else None
        if line is not None:
            faults.append((line, replies.LONG_BODY_LINE))
        return faults
