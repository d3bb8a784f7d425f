"""Replies and enhanced status codes (RFC 5321 section 4.2, RFC 2034, RFC 3463) as values.

The first digit of the code decides what a client does, the enhanced code says more, the text is for people.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from mailproto._core.codec import TURNING, UNSAFE, printable
from mailproto.errors import GrammarError, MailProtoError, RemoteProtocolError

USUAL_LINE = 200  # octets of a line that is worth remembering
_CHALLENGE = b"334"  # of AUTH (RFC 4954 section 4), which may be a secret, and is forgotten
MAX_REPLY_LINE = 512  # octets with the CRLF that a server may send, RFC 5321 section 4.5.3.1.5

_ENHANCED = re.compile(r"([245])\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})", re.ASCII)
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_UNPRINTABLE = re.compile(r"[^\t -~]")
_UNPRINTABLE_UTF8 = re.compile(rf"(?!\t)[{UNSAFE}{TURNING}]")
_QUEUE_ID = re.compile(r"\b(?:queued as|queued with id|id=|queue id)[ :]*([A-Za-z0-9._-]+)", re.IGNORECASE)


class EnhancedStatus(NamedTuple):
    """An enhanced status code of RFC 3463: ``5.1.1`` is class 5, subject 1, detail 1."""

    status_class: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus:
        """Return the code that ``text`` is.

        Raises:
            GrammarError: not a code of RFC 3463 section 2.
        """
        match = _ENHANCED.fullmatch(text)
        if match is None:
            raise GrammarError(f"not an enhanced status code: {text!a:.40}")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.status_class}.{self.subject}.{self.detail}"


class Reply(NamedTuple):
    """A reply (RFC 5321 section 4.2).

    It is its code, its text, whose lines are separated by ``\\n``, and its enhanced status code, if it has one.
    """

    code: int
    text: str = ""
    enhanced: EnhancedStatus | None = None

    @classmethod
    def build(cls, code: int, text: str, enhanced: str | EnhancedStatus | None = None) -> Reply:
        """Return the reply, checked: what a server's application hands over.

        Raises:
            GrammarError: the code is not from 200 to 599, or the enhanced code is none or of another class.
        """
        status = EnhancedStatus.parse(enhanced) if isinstance(enhanced, str) else enhanced
        if not 200 <= code <= 599:
            raise GrammarError(f"not a reply code: {code}")
        if status is not None and status.status_class != code // 100:
            raise GrammarError(f"the enhanced code {status} does not go with {code}")
        return cls(code, text, status)

    @property
    def ok(self) -> bool:
        """Whether this is a positive reply: class 2 (done) or class 3 (go on)."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """Whether the same may work later (class 4)."""
        return 400 <= self.code <= 499

    @property
    def permanent(self) -> bool:
        """Whether the same will not work later either (class 5)."""
        return self.code >= 500

    @property
    def of_syntax(self) -> bool:
        """Whether it refuses a command for what it is, or where it stands (50z, RFC 5321 section 4.2.1), and so says
        nothing of a single recipient."""
        return self.code // 10 == 50

    @property
    def queue_id(self) -> str | None:
        """What looks like the server's name for an accepted message. A guess, for logs and people."""
        match = _QUEUE_ID.search(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        """Return the reply on one line, whatever its text: a line of a log is not to look like two."""
        status = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {status}{self.text}".rstrip(" ").replace("\n", " / ")


class ReplyError(MailProtoError):
    """A reply of class 4 or 5 ended the job. ``command`` is the verb that it answered."""

    def __init__(self, reply: Reply, command: str) -> None:
        super().__init__(f"{command}: {reply}")
        self.reply = reply
        self.command = command

    @property
    def temporary(self) -> bool:
        """Whether the same may work later."""
        return self.reply.temporary


def encode_reply(reply: Reply, utf8: bool = False) -> bytes:
    """Return the reply as it goes on the wire: one line of text, one line of reply, long ones wrapped at 512 octets.

    What may not stand in a reply becomes ``?``; with ``utf8`` (RFC 6531 section 3.7.4) that is not so for what is
    beyond ASCII. So no text of an application or of a message can make two replies of one.
    """
    prefix = f"{reply.enhanced} ".encode("ascii") if reply.enhanced else b""
    unprintable = _UNPRINTABLE_UTF8 if utf8 else _UNPRINTABLE
    lines: list[bytes] = []
    for line in reply.text.replace("\r\n", "\n").split("\n"):
        lines += _wrapped(unprintable.sub("?", line).encode("utf-8"), MAX_REPLY_LINE - len(prefix) - 6)
    code = b"%d" % reply.code
    last = len(lines) - 1
    return b"".join(b"%s%s%s%s\r\n" % (code, b" " if i == last else b"-", prefix, lines[i]) for i in range(last + 1))


def _wrapped(line: bytes, width: int) -> list[bytes]:
    """Cut an over-long line, not within a UTF-8 character."""
    pieces = []
    while len(line) > width:
        cut = width
        while line[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(line[:cut])
        line = line[cut:]
    return [*pieces, line]


class ReplyParser:
    """Makes replies of lines, on the client's side.

    Servers deviate in text, and are let: any text, none, UTF-8 or worse. They are not let in what tells one reply
    from the next: the code, the mark behind it, and the same code on all lines.

    Attributes:
        unfinished: the texts of a reply that has not come to its end.
    """

    __slots__ = ("_code", "_max_lines", "_max_size", "_size", "unfinished")

    def __init__(self, max_lines: int, max_size: int) -> None:
        self._max_lines = max_lines
        self._max_size = max_size
        self._code = 0
        self.unfinished: list[bytes] = []
        self._size = 0

    def feed(self, line: bytes, *, enhanced: bool) -> Reply | None:
        """Take a line without its CRLF; return the reply when it was the last line of it.

        With ``enhanced`` the texts begin with a status code, which is taken off (RFC 2034 section 4).

        Raises:
            RemoteProtocolError: the line is none of a reply, or the reply grows beyond all bounds.
        """
        if not self.unfinished and line[3:4] != b"-" and len(line) <= USUAL_LINE and not line.startswith(_CHALLENGE):
            reply = usual_reply(line, enhanced)
            if reply is not None:
                return reply
        code, more, text = _split(line)
        if self.unfinished and code != self._code:
            raise RemoteProtocolError(f"not a line of this reply: {printable(line)}")
        self._size += len(line)
        if len(self.unfinished) >= self._max_lines or self._size > self._max_size:
            raise RemoteProtocolError("an endless reply")
        self._code = code
        self.unfinished.append(text)
        if more:
            return None
        lines, self.unfinished, self._size = self.unfinished, [], 0
        return _make_reply(code, lines, enhanced)


@functools.lru_cache(maxsize=256)
def usual_reply(line: bytes, enhanced: bool) -> Reply | None:
    """Return the reply of one line, which has `USUAL_LINE` octets at most. Servers say the same few things over and
    over.

    Returns:
        None if it is none, or not all of one.
    """
    match = _REPLY_LINE.fullmatch(line)
    return None if match is None or match[2] == b"-" else _make_reply(int(match[1]), [match[3] or b""], enhanced)


def _split(line: bytes) -> tuple[int, bool, bytes]:
    """Return the code of a reply line, whether more lines follow, and its text."""
    match = _REPLY_LINE.fullmatch(line)
    if match is None:
        raise RemoteProtocolError(f"not a reply line: {printable(line)}")
    return int(match[1]), match[2] == b"-", match[3] or b""


def _make_reply(code: int, lines: list[bytes], enhanced: bool) -> Reply:
    """Return the reply of these text lines. A status code counts only if its class is that of the reply."""
    texts = [harmless(line.decode("utf-8", "backslashreplace")) for line in lines]
    status: EnhancedStatus | None = None
    if enhanced:
        match = _ENHANCED.match(texts[0])
        if match and int(match[1]) == code // 100 and texts[0][match.end() : match.end() + 1] in ("", " "):
            status = EnhancedStatus(*map(int, match.groups()))
            texts = [text.removeprefix(match[0]).removeprefix(" ") for text in texts]
    return Reply(code, "\n".join(texts), status)


def harmless(text: str) -> str:
    """Escape what would end a line, move a cursor or turn letters around where the text is shown."""
    return text if text.isprintable() else _UNPRINTABLE_UTF8.sub(lambda c: ascii(c[0])[1:-1], text)
