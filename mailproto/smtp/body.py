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
from mailproto.smtp import replies
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


class DataSource:
    """The text behind DATA: CRLF lines, dots stuffed, to a lone dot (RFC 5321 section 4.5.2).

    Attributes:
        done, at_boundary: whether the lone dot has come.
    """

    __slots__ = ("_unstuffer", "at_boundary", "done")

    def __init__(self) -> None:
        self.done = self.at_boundary = False
        self._unstuffer = Unstuffer()

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the text, and return it with the dots off."""
        content = buffer.unstuff(self._unstuffer)
        self.done = self.at_boundary = self._unstuffer.done
        return content


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
        size: octets passed on so far.
        excess: octets read and dropped since the message was refused.
        refusal: the reply that it will get, once something is wrong with it.
    """

    __slots__ = (
        "_bare_newlines",
        "_binary",
        "_canonical",
        "_hops",
        "_lines",
        "_max_size",
        "_nul_ok",
        "_source",
        "excess",
        "refusal",
        "size",
    )

    def __init__(self, config: SMTPServerConfig, source: Source, *, binary: bool = False) -> None:
        """Read from ``source``; in a ``binary`` message (BODY=BINARYMIME) every octet is as good as the other."""
        self.size = 0
        self.excess = 0
        self.refusal: Reply | None = None
        self._source = source
        self._binary = binary
        self._max_size = config.max_message_size
        self._nul_ok = config.allow_nul or binary
        self._bare_newlines = config.bare_newlines
        mends = self._bare_newlines is _NORMALIZE and not binary
        self._canonical = CanonicalNewlines() if mends else None
        self._hops = HopCounter(config.limits.max_hops)
        limit = config.limits.max_body_line
        self._lines = LineMeter(limit) if limit is not None and not binary else None

    @property
    def done(self) -> bool:
        """Whether the end of the message has come."""
        return self._source.done

    @property
    def at_boundary(self) -> bool:
        """Whether the end of the message, or of a chunk of it, has come."""
        return self._source.at_boundary

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Consume what ``buffer`` has of the message; return what of it is to be passed on."""
        content = self._source.read(buffer)
        if self.refusal is not None:
            self.excess += len(content)
            return b""
        if self._canonical is not None:
            content = self._canonical.feed(content) + (self._canonical.finish() if self.done else b"")
        return self._checked(content)

    def _checked(self, content: bytes) -> bytes:
        size = self.size + len(content)
        hop = self._hops.feed(content)
        line = self._lines.feed(content) if self._lines is not None else None
        bare = not self._binary and has_bare_newline(content)
        nul = not self._nul_ok and b"\0" in content
        if hop is None and line is None and not (bare or nul or 0 < self._max_size < size):
            self.size = size
            return content
        faults: list[tuple[int, Reply]] = []  # where each kind of fault begins, first of its kind
        if bare:
            found = _BARE_NEWLINE.search(content)
            closes = self._bare_newlines is BareNewlines.CLOSE
            refusal = replies.BARE_NEWLINE_CLOSE if closes else replies.BARE_NEWLINE
            faults.append((found.start() if found else 0, refusal))
        if nul:
            faults.append((content.index(b"\0"), replies.NUL))
        if 0 < self._max_size < size:
            faults.append((self._max_size - self.size, replies.TOO_BIG))
        if hop is not None:
            faults.append((hop, replies.TOO_MANY_HOPS))
        if line is not None:
            faults.append((line, replies.LONG_BODY_LINE))
        return self._cut(content, *min(faults, key=lambda fault: fault[0]))

    def _cut(self, content: bytes, position: int, refusal: Reply) -> bytes:
        """Refuse the message, and return what of ``content`` came before the reason for it."""
        self.refusal = refusal
        self.size += position
        self.excess = len(content) - position
        return content[:position]
