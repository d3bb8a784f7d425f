"""Command lines: what a server reads and a client writes (RFC 5321 section 4.1.1), and the client's handle of one."""

from __future__ import annotations

import re

from mailproto._core.codec import UNSAFE, encode_base64, parse_uint
from mailproto.address import Address, check_domain, format_path
from mailproto.errors import GrammarError
from mailproto.smtp.config import Tolerance
from mailproto.smtp.extensions.burl import check_url
from mailproto.smtp.extensions.frame import check_verb
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import HELLO, VERBS

SECRET = b"<secret>"
"""What stands in a trace where a secret was."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_ARGUMENT = re.compile(rf"[^{UNSAFE}]*")
# Behind these the client has to wait for the reply (RFC 2920 section 3.1).
_ALONE = frozenset(
    {"greeting", *HELLO, "DATA", "BURL", "STARTTLS", "AUTH", "VRFY", "EXPN", "ETRN", "XCLIENT"}
    | {"NOOP", "HELP", "QUIT"}
)
_PLAIN = frozenset({"MAIL", "RCPT", "RSET"})
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")


def parse_command(line: bytes) -> tuple[str, str]:
    """Return the verb of a line, in upper case, and what stands behind the space.

    Spaces at its end are tolerated (RFC 5321 section 4.1.1).

    Raises:
        GrammarError: it is not UTF-8, or has control characters, among them the bare CR or LF that one day somebody
            takes for a line end.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise GrammarError("not UTF-8") from None
    if not text.isprintable() and not _ARGUMENT.fullmatch(text):
        raise GrammarError("a control character, or a line end of Unicode, in a command")
    verb, _, argument = text.rstrip(" ").partition(" ")
    return verb if verb in VERBS else upper(verb), argument


def upper(word: str) -> str:
    """Return a keyword in upper case. Beyond ASCII there are letters whose upper case is ASCII, and no keywords."""
    return word.upper() if word.isascii() else word


def has_control(line: bytes) -> bool:
    """Say whether a control character of ASCII is in a line."""
    return _CONTROL.search(line) is not None


def needed_argument(argument: str) -> str:
    """Return an argument that has to be there; raise `GrammarError` if it is not."""
    if not argument:
        raise GrammarError("an argument is missing")
    return argument


def path_argument(argument: str, prefix: str) -> str:
    """Return what follows ``FROM:`` or ``TO:``, the path and its parameters.

    Raises:
        GrammarError: the argument is something else.
    """
    if argument[: len(prefix)].upper() != prefix:
        raise GrammarError(f"{prefix} is missing")
    return argument[len(prefix) :]


def mend_path(text: str, tolerances: frozenset[Tolerance]) -> tuple[str, list[Tolerance]]:
    """Return ``text``, which does not begin with a path, as it should be, and the tolerances that it takes."""
    used: list[Tolerance] = []
    if text[:1] == " " and Tolerance.SPACE_AFTER_COLON in tolerances:
        text = text.lstrip(" ")
        used.append(Tolerance.SPACE_AFTER_COLON)
    if text[:1] not in ("<", " ", "") and Tolerance.MISSING_BRACKETS in tolerances:
        address, space, rest = text.partition(" ")
        text = f"<{address}>{space}{rest}"
        used.append(Tolerance.MISSING_BRACKETS)
    return text, used


def parse_chunk(argument: str) -> tuple[int, bool] | None:
    """Return the size of a BDAT chunk and whether it is the last (RFC 3030 section 2); None if it cannot be told."""
    digits, space, mark = argument.encode().partition(b" ")
    if space and mark.upper() != b"LAST":
        return None
    try:
        return parse_uint(digits), bool(space)
    except GrammarError:
        return None


class Command:
    """A client's handle of a command: what was asked, and in time the reply.

    Attributes:
        verb: the command, or ``"."`` for the end of a message.
        address: whom a MAIL or RCPT names.
        reply: the final reply, or the go-ahead to DATA; None until it has come.
        refused: whether it is one that keeps the message from being taken, a 355 (RFC 1845 section 3) among them.
        replies: in LMTP, the replies to a message as far as they have come, one for each accepted recipient; with
            PRDR, and where the server makes use of it, the same and the ``reply`` for all.
        sent: whether it has left, and the server may have read it: behind a 421 it does not.
        skipped: whether it was not sent after all, because the one it depends on was refused.
    """

    __slots__ = (
        "address",
        "alone",
        "ends",
        "line",
        "payload",
        "plain",
        "refused",
        "replies",
        "reply",
        "sent",
        "shown",
        "skipped",
        "transaction",
        "verb",
    )

    def __init__(self, verb: str, line: bytes, shown: bytes | None = None, address: Address | None = None) -> None:
        self.verb = verb
        self.line = line
        self.shown = line[:-2] if shown is None else shown
        self.address = address
        self.payload: bytes | memoryview = b""  # the octets of a chunk, which follow the line
        self.ends = False  # whether it ends a message
        self.alone = verb in _ALONE  # whether nothing may be said before its reply is there
        self.plain = verb in _PLAIN  # whether little follows from a good reply, see `take_good_replies`
        self.reply: Reply | None = None
        self.replies: list[Reply] = []
        self.sent = self.skipped = self.refused = False
        self.transaction: Transaction | None = None

    def __repr__(self) -> str:
        return f"<{self.shown.decode('utf-8', 'backslashreplace')}>"


class Transaction:
    """A client's view of one mail transaction (RFC 5321 section 3.3)."""

    __slots__ = (
        "accepted",
        "binary",
        "canonicalise",
        "chunked",
        "data",
        "each",
        "eight_bit",
        "prdr",
        "refused",
        "utf8",
        "waiting",
    )

    def __init__(self, body: Body | None = None, utf8: bool = False, prdr: bool = False) -> None:
        self.utf8 = utf8
        self.prdr = prdr  # whether the server may reply for each recipient
        self.each = False  # whether it has begun to
        self.eight_bit = body is not None and body is not Body.SEVEN_BIT
        self.binary = body is not None and body is Body.BINARY_MIME  # a member of an enum costs as much as a call
        self.chunked = False  # a BDAT was queued
        self.canonicalise = False  # whether bare newlines are mended
        self.waiting = 0  # RCPTs without a reply yet
        self.accepted = 0
        self.refused = False  # MAIL was, and all that hangs on it is void
        self.data = False  # DATA was queued


def _line(text: str) -> bytes:
    """Return ``text`` as a command line. Whatever it was made of, what leaves is looked at here once more.

    Raises:
        GrammarError: it has a character that may not stand in a command.
    """
    if not (text.isascii() and text.isprintable()) and not _ARGUMENT.fullmatch(text):
        raise GrammarError(f"a control character in a command: {text!a:.100}")
    return f"{text}\r\n".encode()


def simple(verb: str, argument: str = "") -> Command:
    """Return a command of a verb and, perhaps, an argument.

    Raises:
        GrammarError: the argument has a character that may not stand in a command.
    """
    return Command(verb, _line(f"{verb} {argument}" if argument else verb))


def other(verb: str, argument: str) -> Command:
    """Return a command of an extension that is not known here; what it does not say itself is the last of a group
    (RFC 2920 section 3.1).

    Raises:
        GrammarError: ``verb`` is none, or the argument has a character that may not stand in a command.
    """
    check_verb(verb)
    command = simple(verb, argument)
    command.alone = True
    return command


def mail(address: Address | None, parameters: str = "") -> Command:
    """Return the MAIL command (RFC 5321 section 4.1.1.2), with parameters as `format_fields` writes them."""
    return Command("MAIL", _line(f"MAIL FROM:{format_path(address)}{parameters}"), None, address)


def rcpt(address: Address, parameters: str = "") -> Command:
    """Return the RCPT command (RFC 5321 section 4.1.1.3), with parameters as `format_fields` writes them."""
    return Command("RCPT", _line(f"RCPT TO:{format_path(address)}{parameters}"), None, address)


def auth(mechanism: str, initial_response: bytes | None) -> Command:
    """Return the AUTH command (RFC 4954 section 4); an empty initial response is ``=``, none at all is nothing.

    Raises:
        GrammarError: not the name of a SASL mechanism.
    """
    if not _MECHANISM.fullmatch(mechanism):
        raise GrammarError(f"not a SASL mechanism: {mechanism!a:.40}")
    line = b"AUTH " + mechanism.encode("ascii")
    if initial_response is None:
        return Command("AUTH", line + b"\r\n")
    encoded = encode_base64(initial_response) or b"="
    return Command("AUTH", b"%s %s\r\n" % (line, encoded), shown=line + b" " + SECRET)


def bdat(data: bytes | memoryview, last: bool) -> Command:
    """Return a BDAT command with its chunk (RFC 3030 section 2)."""
    command = Command("BDAT", f"BDAT {len(data)}{' LAST' if last else ''}\r\n".encode())
    command.payload = data
    command.ends = last
    return command


def burl(url: str) -> Command:
    """Return a BURL command for all of a message (RFC 4468 section 3.2). The URL may be a key to a mailbox.

    Raises:
        GrammarError: ``url`` is not an absolute URI.
    """
    command = Command("BURL", _line(f"BURL {check_url(url)} LAST"), shown=b"BURL " + SECRET)
    command.ends = True
    return command


def hello(verb: str, name: str) -> Command:
    """Return EHLO or HELO with a client's name, a domain or an address literal.

    Raises:
        GrammarError: ``name`` is neither.
    """
    check_domain(name)
    return simple(verb, name)
