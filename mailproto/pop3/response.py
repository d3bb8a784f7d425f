"""POP3 responses and response codes (RFC 1939 section 3, RFC 2449 sections 3 and 8, RFC 3206) as values."""

from __future__ import annotations

import enum
import functools
import re
from typing import NamedTuple

from mailproto._core.codec import TURNING, UNSAFE, printable
from mailproto.errors import GrammarError, MailProtoError

MAX_RESPONSE_LINE = 512  # octets with the CRLF that a server may send, RFC 2449 section 4

_LEVEL = r"[!-.0-\\^-~]+"
_CODE = re.compile(rf"{_LEVEL}(?:/{_LEVEL})*")
_CODE_IN_TEXT = re.compile(rf"\[({_LEVEL}(?:/{_LEVEL})*)\] ?".encode("ascii"))
_STATUS_CODE = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_UNPRINTABLE = re.compile(r"[^ -~]")
_UNSHOWABLE = re.compile(rf"[{UNSAFE}{TURNING}]")


class ResponseCode(enum.StrEnum):
    """The response codes that have an RFC; each equals the text that stands for it in a `Response`.

    Attributes:
        IN_USE: another session has the maildrop (RFC 2449 section 8.1.2).
        LOGIN_DELAY: the last login was not long enough ago (RFC 2449 section 8.1.1).
        AUTH: the credentials are at fault (RFC 3206 section 5).
        SYS_TEMP: the server is at fault, and that is likely to pass (RFC 3206 section 4).
        SYS_PERM: the server is at fault, and somebody has to see to it (RFC 3206 section 4).
        UTF8: the message can be had in UTF-8 mode only (RFC 6856 section 5).
    """

    IN_USE = "IN-USE"
    LOGIN_DELAY = "LOGIN-DELAY"
    AUTH = "AUTH"
    SYS_TEMP = "SYS/TEMP"
    SYS_PERM = "SYS/PERM"
    UTF8 = "UTF8"


_KNOWN = frozenset({"IN-USE", "LOGIN-DELAY", "AUTH", "SYS", "UTF8", "XCLIENT"})
"""The first levels of the codes that are known for what they are even where nobody has announced RESP-CODES."""


class Response(NamedTuple):
    """The first line of a response: yes or no, the text, and the response code, in upper case, if it has one.

    The code compares with a `ResponseCode`.
    """

    ok: bool
    text: str = ""
    code: str | None = None

    @classmethod
    def build(cls, ok: bool, text: str, code: str | None = None) -> Response:
        """Return the response, checked: what a server's application hands over.

        Raises:
            GrammarError: ``code`` is not a response code of RFC 2449 section 3.
        """
        if code is not None and not _CODE.fullmatch(code):
            raise GrammarError(f"not a response code: {code!a:.40}")
        return cls(ok, text, code.upper() if code is not None else None)

    @property
    def temporary(self) -> bool:
        """Whether the server says that the same may work later (RFC 2449 section 8.1, RFC 3206 section 4)."""
        levels = self.code.split("/") if self.code is not None else []
        return levels[:1] in (["IN-USE"], ["LOGIN-DELAY"]) or levels[:2] == ["SYS", "TEMP"]

    def __str__(self) -> str:
        status = "+OK" if self.ok else "-ERR"
        code = f" [{self.code}]" if self.code is not None else ""
        text = f" {self.text}" if self.text else ""
        return f"{status}{code}{text}"


class ResponseError(MailProtoError):
    """A ``-ERR`` ended the job. ``command`` is the verb that it answered."""

    def __init__(self, response: Response, command: str) -> None:
        super().__init__(f"{command}: {response}")
        self.response = response
        self.command = command

    @property
    def temporary(self) -> bool:
        """Whether the server says that the same may work later."""
        return self.response.temporary


@functools.lru_cache(maxsize=512)
def encode_response(response: Response, utf8: bool = False) -> bytes:
    """Return the response as it goes on the wire: always one line, cut at 512 octets.

    What may not stand there, without ``utf8`` all but ASCII, becomes ``?``, and so does a bracket at the beginning of
    the text, which would pass for a response code. So no text of an application can make two responses of one, or
    another one of it.
    """
    text = (_UNSHOWABLE if utf8 else _UNPRINTABLE).sub("?", response.text)
    if response.code is not None:
        text = f"[{response.code}] {text}"
    elif text.startswith("["):
        text = "?" + text[1:]
    status = "+OK" if response.ok else "-ERR"
    line = (f"{status} {text}" if text else status).encode("utf-8")
    if len(line) > MAX_RESPONSE_LINE - 2:  # at the end of a character
        line = line[: MAX_RESPONSE_LINE - 2].decode("utf-8", "ignore").encode("utf-8")
    return line + b"\r\n"


def encode_line(text: str, utf8: bool = False) -> bytes:
    """Return a further line of a response as it goes on the wire, with one more dot if it begins with one.

    What may not stand there becomes ``?``, as in `encode_response`.
    """
    line = (_UNSHOWABLE if utf8 else _UNPRINTABLE).sub("?", text).encode("utf-8")
    return b"%s%s\r\n" % (b"." if line[:1] == b"." else b"", line)


def parse_response(line: bytes, *, resp_codes: bool = False) -> Response:
    """Return what the first line of a response says. The text may be anything, or nothing.

    A response code is known by its form where the server has announced RESP-CODES (RFC 2449 section 6.4). Elsewhere
    only those are that have an RFC, and what else stands in brackets is text.

    Raises:
        GrammarError: the line does not begin with a status indicator.
    """
    if line[:4] == b"+OK " or line == b"+OK":
        ok, text = True, line[4:]
    elif line[:5] == b"-ERR " or line == b"-ERR":
        ok, text = False, line[5:]
    else:
        raise GrammarError(f"not a response: {printable(line)}")
    code = None
    if text[:1] == b"[" and (match := _CODE_IN_TEXT.match(text)):
        found = match[1].decode("ascii").upper()
        if resp_codes or found.partition("/")[0] in _KNOWN:
            code, text = found, text[match.end() :]
    return Response(ok, readable(text), code)


def readable(octets: bytes) -> str:
    """Return a server's words as text, and escape in it what would end a line, move a cursor or turn letters around
    where it is shown."""
    text = octets.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else _UNSHOWABLE.sub(lambda character: ascii(character[0])[1:-1], text)


def refusal(default: Response, code: int | None, text: str | None, enhanced: str | None) -> Response:
    """Return the ``-ERR`` for what an application said, who may think in SMTP.

    ``enhanced`` is a response code, or an enhanced status code of RFC 3463. Of that, and of the reply code
    ``code``, POP3 can say what a client acts on: class 4 is SYS/TEMP, and 5.7.x or 535, in answer to a login,
    AUTH. Where nothing is said, ``default`` stands.

    Raises:
        GrammarError: ``enhanced`` is neither.
    """
    if code is None and enhanced is None:
        spoken = default.code if text is None else _login_code(default)
    elif enhanced is not None and not _STATUS_CODE.fullmatch(enhanced):
        spoken = enhanced
    elif (enhanced or str(code)).startswith("4"):
        spoken = "SYS/TEMP"
    elif code == 535 or (enhanced or "").startswith("5.7."):
        spoken = _login_code(default)
    else:
        spoken = None
    return Response.build(False, default.text if text is None else text, spoken)


def _login_code(default: Response) -> str | None:
    return default.code if default.code == "AUTH" else None
