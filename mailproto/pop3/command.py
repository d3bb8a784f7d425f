"""Command lines, what a client writes (RFC 1939 section 3, RFC 2449 sections 3 and 4), and the handles of them."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Generic, TypeVar

from mailproto._core.attributes import Attributes
from mailproto._core.codec import encode_base64, parse_uint
from mailproto.errors import GrammarError
from mailproto.pop3.capabilities import Capabilities, parse_capabilities
from mailproto.pop3.languages import check_tag, parse_chosen, parse_languages
from mailproto.pop3.listing import (
    Stat,
    collect,
    collect_unique_ids,
    parse_one_unique_id,
    parse_size,
    parse_stat,
)
from mailproto.pop3.response import Response, readable
from mailproto.pop3.rules import VERBS
from mailproto.pop3.tolerance import Lenience
from mailproto.pop3.xclient import format_xclient
from mailproto.sasl.base import check_mechanism
from mailproto.sasl.text import encode_utf8, saslprep

T = TypeVar("T")

MAX_COMMAND_LINE = 255  # octets with the CRLF, RFC 2449 section 4
_MAX_NUMBER = 10**20 - 1  # in a command: the longest that is read in a response
SECRET = b"<secret>"
"""What stands in a trace where a secret was."""

_VERB = re.compile(r"[!-~]{3,8}")
_PARAMETER = re.compile(r"[!-~]+")
_PASSWORD = re.compile(r"[ -~]+")
_UTF8_PARAMETER = re.compile(r"[^\x00-\x20\x7f]+")
_UTF8_PASSWORD = re.compile(r"[^\x00-\x1f\x7f]+")


class Shape(enum.Enum):
    """What a positive response to a command is made of."""

    LINE = enum.auto()
    LISTING = enum.auto()  # many lines, short ones
    MESSAGE = enum.auto()
    EXCHANGE = enum.auto()  # challenges and responses


class Command(Generic[T]):
    """A client's handle of a command: what was asked, and in time the response.

    Attributes:
        verb: the command.
        response: the first line of the response, None until it has come.
        result: what the response means, for a command that asks something; None until all of it has come.
        done: whether all of the response has come.
    """

    __slots__ = ("done", "entry", "held", "line", "parse", "response", "result", "shape", "shown", "verb")

    def __init__(
        self,
        verb: str,
        line: bytes,
        shown: bytes | None = None,
        *,
        shape: Shape = Shape.LINE,
        parse: Callable[[list[bytes], Lenience], T] | None = None,
        entry: Callable[[bytes, Lenience], object] | None = None,
        held: bytes | None = None,
    ) -> None:
        self.verb = verb
        self.line = line  # empty once it was sent
        self.shown = line[:-2] if shown is None else shown
        self.shape = shape
        self.parse = parse
        self.entry = entry  # reads a line of the listing that may come in place of the one line
        self.held = held  # an initial response that has to wait for the server's empty challenge
        self.response: Response | None = None
        self.result: T | None = None
        self.done = False

    def __repr__(self) -> str:
        return f"<{self.shown.decode()}>"


def command_line(verb: str, *parameters: str | int, parameter: re.Pattern[str] = _PARAMETER) -> bytes:
    """Return a command as it goes on the wire.

    Raises:
        GrammarError: a part has octets that may not stand in a command, or the line is longer than 255 octets.
    """
    if not _VERB.fullmatch(verb):
        raise GrammarError(f"not a command: {verb!a:.40}")
    texts = [str(value) for value in parameters]
    if not all(map(parameter.fullmatch, texts)):
        raise GrammarError(f"a parameter of {verb} that is empty, or has more in it than may be sent")
    line = encode_utf8(f"{' '.join((verb, *texts))}\r\n")
    if len(line) > MAX_COMMAND_LINE:
        raise GrammarError(f"{verb} with {len(line)} octets; a command may have {MAX_COMMAND_LINE}")
    return line


def check_own_verb(verb: str) -> None:
    """Raise `GrammarError` unless ``verb`` can be a command of one's own: in upper case, and not POP3's."""
    if not _VERB.fullmatch(verb) or verb != verb.upper():
        raise GrammarError(f"not a verb in upper case: {verb!a:.40}")
    if verb in VERBS:
        raise GrammarError(f"POP3 has {verb} already")


def plain(verb: str, *parameters: str | int) -> Command[None]:
    """Return a command whose response is one line that means only yes or no."""
    return Command(verb, command_line(verb, *parameters))


def other(verb: str, *parameters: str | int) -> Command[str]:
    """Return a command that is not known here, whose response is one line; the result is its text."""
    check_own_verb(verb)
    return Command(verb, command_line(verb, *parameters), parse=lambda lines, _: readable(lines[0]))


def other_multiline(verb: str, *parameters: str | int) -> Command[list[str]]:
    """Return a command that is not known here, whose response is several lines; the result is those behind the
    first."""
    check_own_verb(verb)
    line = command_line(verb, *parameters)
    return Command(verb, line, shape=Shape.LISTING, parse=lambda lines, _: [readable(each) for each in lines])


def on_message(verb: str, number: int, shape: Shape = Shape.LINE) -> Command[None]:
    """Return a command on message ``number``."""
    return Command(verb, _numbered(verb, number), shape=shape)


def top(number: int, lines: int) -> Command[None]:
    """Return the TOP command (RFC 1939 section 7)."""
    return Command("TOP", command_line("TOP", _at_least(1, number), _at_least(0, lines)), shape=Shape.MESSAGE)


def user(name: str, *, utf8: bool = False) -> Command[None]:
    """Return the USER command (RFC 1939 section 7), with ``utf8`` in UTF-8 if need be (RFC 6856 section 2.2)."""
    if not utf8:
        return plain("USER", name)
    return Command("USER", command_line("USER", _prepared(name), parameter=_UTF8_PARAMETER))


def password(secret: str, *, utf8: bool = False) -> Command[None]:
    """Return the PASS command (RFC 1939 section 7). Spaces are part of the password, wherever they stand."""
    if utf8:
        line = command_line("PASS", _prepared(secret), parameter=_UTF8_PASSWORD)
    else:
        line = command_line("PASS", secret, parameter=_PASSWORD)
    return Command("PASS", line, b"PASS " + SECRET)


def apop(username: str, digest: str, *, utf8: bool = False) -> Command[None]:
    """Return the APOP command (RFC 1939 section 7)."""
    name = _prepared(username) if utf8 else username
    line = command_line("APOP", name, digest, parameter=_UTF8_PARAMETER if utf8 else _PARAMETER)
    return Command("APOP", line, b"APOP %s %s" % (encode_utf8(name), SECRET))


def _prepared(text: str) -> str:
    """Return a user name or a password as it is sent; in ASCII it is as it is."""
    return text if text.isascii() else saslprep(text)


def auth(mechanism: str, initial_response: bytes | None, *, along: bool) -> Command[None]:
    """Return the AUTH command (RFC 5034 section 4).

    The initial response goes with it if that is allowed at all (``along``) and the line stays within 255 octets;
    else it waits for the server's empty challenge.

    Raises:
        GrammarError: not the name of a SASL mechanism.
    """
    check_mechanism(mechanism)
    alone = b"AUTH " + mechanism.encode("ascii")
    if initial_response is None:
        return Command("AUTH", alone + b"\r\n", shape=Shape.EXCHANGE)
    line = b"%s %s\r\n" % (alone, encode_base64(initial_response) or b"=")
    if not along or len(line) > MAX_COMMAND_LINE:
        return Command("AUTH", alone + b"\r\n", shape=Shape.EXCHANGE, held=initial_response)
    return Command("AUTH", line, b"%s %s" % (alone, SECRET), shape=Shape.EXCHANGE)


def capa(limit: int) -> Command[Capabilities]:
    """Return the CAPA command (RFC 2449 section 5), of whose capabilities ``limit`` are kept."""

    def parse(lines: list[bytes], lenience: Lenience) -> Capabilities:
        return parse_capabilities(lines, lenience, limit)

    return Command("CAPA", b"CAPA\r\n", shape=Shape.LISTING, parse=parse)


def lang(wanted: str) -> Command[str]:
    """Return the LANG command that chooses a language (RFC 6856 section 3), ``*`` for the one the server prefers.

    Raises:
        GrammarError: ``wanted`` is neither that nor a language range.
    """
    if wanted != "*":
        check_tag(wanted)
    return Command("LANG", command_line("LANG", wanted), parse=lambda lines, _: parse_chosen(lines[0]))


def languages() -> Command[dict[str, str]]:
    """Return the LANG command that asks which languages there are (RFC 6856 section 3)."""
    return Command("LANG", b"LANG\r\n", shape=Shape.LISTING, parse=lambda lines, _: parse_languages(lines))


def xclient(attributes: Attributes) -> Command[None]:
    """Return the XCLIENT command of Dovecot."""
    return plain("XCLIENT", *format_xclient(attributes).split(" "))


def stat() -> Command[Stat]:
    """Return the STAT command (RFC 1939 section 5)."""
    return Command("STAT", b"STAT\r\n", parse=lambda lines, lenience: parse_stat(lines[0], lenience))


def last() -> Command[int]:
    """Return the LAST command, which RFC 1460 had."""
    return Command("LAST", b"LAST\r\n", parse=lambda lines, _: parse_uint(lines[0].partition(b" ")[0]))


def list_one(number: int) -> Command[int]:
    """Return the LIST command for one message (RFC 1939 section 5)."""

    def parse(lines: list[bytes], lenience: Lenience) -> int:
        sizes = collect(parse_size, lines, lenience)
        if number not in sizes:
            raise GrammarError(f"an answer about message {min(sizes, default=0)}, not {number}")
        return sizes[number]

    return Command("LIST", _numbered("LIST", number), parse=parse, entry=parse_size)


def list_all() -> Command[dict[int, int]]:
    """Return the LIST command for all messages (RFC 1939 section 5)."""

    def parse(lines: list[bytes], lenience: Lenience) -> dict[int, int]:
        return collect(parse_size, lines, lenience)

    return Command("LIST", b"LIST\r\n", shape=Shape.LISTING, parse=parse)


def uidl_one(number: int) -> Command[str]:
    """Return the UIDL command for one message (RFC 1939 section 7)."""

    def parse(lines: list[bytes], lenience: Lenience) -> str:
        answered, uid = parse_one_unique_id(lines[0], number, lenience)
        if answered != number:
            raise GrammarError(f"an answer about message {answered}, not {number}")
        return uid

    return Command("UIDL", _numbered("UIDL", number), parse=parse)


def uidl_all() -> Command[dict[int, str]]:
    """Return the UIDL command for all messages (RFC 1939 section 7)."""
    return Command("UIDL", b"UIDL\r\n", shape=Shape.LISTING, parse=collect_unique_ids)


def _numbered(verb: str, number: int) -> bytes:
    """Return a command on message ``number`` as it goes on the wire: there is nothing but the number to check."""
    return f"{verb} {_at_least(1, number)}\r\n".encode("ascii")


def _at_least(minimum: int, number: int) -> int:
    if type(number) is not int or not minimum <= number <= _MAX_NUMBER:
        raise GrammarError(f"not a number from {minimum} to {_MAX_NUMBER}: {number!a:.40}")
    return number
